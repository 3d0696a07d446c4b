"""Text as a stream of characters: the data of a character language model."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.files.corpus import Corpus, find_corpus, python_topics, some
from cellstate.data.files.encoding import Encoded, cut_points, encode_in_memory
from cellstate.data.files.token_file import default_folder, encode_in_file, stretches
from cellstate.data.loader import ResumableLoader, StreamLoader
from cellstate.data.samples import Samples
from cellstate.errors import RequestError
from cellstate.metrics.tokens import ngram_scores

IN_MEMORY_BYTES = 2**26  # larger texts are encoded into a file and never loaded into memory entirely
COUNTED = 2**28  # most characters on which n-grams are counted: more change little and take minutes
SPLITS = ("train", "val", "test")


class TextSamples(Samples):
    """A contiguous part of an encoded text, ``tokens (N,)`` of any integer type, read by a stream loader.

    The tokens may be memory-mapped: they are never copied in full.
    """

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens) - 1  # every token but the first is a target

    @override
    def batch(self, indices: Tensor) -> Batch:
        return Batch(self.tokens[indices].long().unsqueeze(1), self.tokens[indices + 1].long().unsqueeze(1))

    @override
    def to(self, device: torch.device) -> TextSamples:
        return TextSamples(self.tokens.to(device))

    @override
    def nbytes(self) -> int:
        return self.tokens.nbytes

    @override
    def update_digest(self, digest: hashlib._Hash) -> None:
        for part in stretches(self.tokens.cpu().numpy()):
            digest.update(part.astype(np.int32).tobytes())  # one type, whatever the storage

    def unknown(self) -> int:
        """Return the number of tokens whose symbol does not occur in the training text."""
        return sum(len(part) - int(np.count_nonzero(part)) for part in stretches(self.tokens.numpy()))


class TextData(SequenceData):
    """UTF-8 text, split in order into training, validation and (optionally) test text.

    A text of 64 MiB or more is encoded into a file once and read from there afterwards (``token_file``), so that it may
    be larger than memory.

    Args:
        path: a file, or a folder whose text files are read in the order of their paths; None uses the English help
            texts of Python (``pydoc_data.topics``).
        pattern: glob pattern of the files to read in a folder, such as ``*.txt``.
        separator: text inserted between two files.
        cache: folder for the encoded form of a large text; None uses ``~/.cache/cellstate``.
        split: shares of training, validation and test text, in the text's order; 0 for no test split.
        batch_size: streams read in parallel in training.
        steps: characters of each stream per batch: the length of truncated backpropagation through time.
        eval_streams: streams in evaluation; separate, so that scores do not depend on the training batch size.
        seed: determines where each epoch cuts the streams.
    """

    gives = "vocabulary"

    _batch_counts_samples = False

    def __init__(
        self,
        *,
        path: str | None = None,
        pattern: str = "*",
        separator: str = "\n",
        cache: str | None = None,
        split: Annotated[Sequence[float], Field(min_length=3, max_length=3)] = (0.9, 0.1, 0.0),
        batch_size: PositiveInt = 64,
        steps: PositiveInt = 64,
        eval_streams: PositiveInt = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.path, self.pattern, self.separator, self.cache = path, pattern, separator, cache
        self.split, self.steps, self.eval_streams = tuple(split), steps, eval_streams

    @override
    def prepare(self) -> Prepared:
        cut_points(0, self.split)  # rejects invalid shares before a long text is read
        corpus = python_topics() if self.path is None else find_corpus(self.path, self.pattern, self.separator)
        encoded, facts = self._encoded(corpus)
        self._check(encoded, corpus.name)
        parts = {name: TextSamples(as_tensor(part)) for name, part in self._parts(encoded.tokens).items()}
        unknown = sum(part.unknown() for name, part in parts.items() if name != "train")
        sizes = ", ".join(f"{len(part.tokens):,} {name}" for name, part in parts.items())
        files = f" ({len(corpus.files):,} files)" if len(corpus.files) > 1 else ""
        facts = (f"{corpus.name}{files}: {sizes} characters, {len(encoded.vocabulary) - 1} symbols", *facts)
        if unknown:
            facts += (f"{unknown:,} characters outside the training split are symbols that do not occur in it",)
        if len(parts["train"].tokens) > COUNTED:
            facts += (f"the n-gram references are counted on the first {COUNTED:,} characters of the training split",)
        return Prepared(DataSpec(vocabulary=encoded.vocabulary), parts, facts)

    def _encoded(self, corpus: Corpus) -> tuple[Encoded, tuple[str, ...]]:
        """Return the text as tokens, and facts about its encoding."""
        facts = (f"skipped (hidden or not text): {some(corpus.skipped)}",) if corpus.skipped else ()
        vocabulary = None if self.fitted is None else self.fitted.vocabulary
        if corpus.nbytes() < IN_MEMORY_BYTES:
            return encode_in_memory(corpus, self.split, vocabulary), facts
        folder = default_folder() if self.cache is None else Path(self.cache).expanduser()
        encoded, file = encode_in_file(corpus, self.split, folder, vocabulary)
        return encoded, (*facts, f"read from its encoded form, {file}, which may be deleted")

    def _parts(self, tokens: np.ndarray) -> Mapping[str, np.ndarray]:
        borders = [0, *cut_points(len(tokens), self.split)]
        parts = {name: tokens[a:b] for name, (a, b) in zip(SPLITS, itertools.pairwise(borders), strict=True)}
        return {name: part for name, part in parts.items() if name != "test" or self.split[2] > 0}

    @override
    def split_rule(self) -> dict[str, Any]:
        return {"shares": list(self.split), "order": "as in the text"}

    def _check(self, encoded: Encoded, name: str) -> None:
        """Reject a text with nothing to predict, or that is too short for its streams.

        Raises:
            RequestError: one line for each key that has to change.
        """
        if not len(encoded.tokens):
            raise RequestError(f"{name}: the file is empty; give a text file with data.path=FILE")
        sizes = {part: len(content) for part, content in self._parts(encoded.tokens).items()}
        shortest = min(sizes, key=lambda part: sizes[part])
        if sizes[shortest] < 2:
            raise RequestError(
                f"{name}: the text is too short: of its {len(encoded.tokens):,} characters the {shortest} split has "
                f"{sizes[shortest]}, but needs at least 2; give more text, or a larger share with data.split"
            )
        symbol = encoded.vocabulary[-1]
        if len(encoded.vocabulary) < 3:
            raise RequestError(
                f"{name}: the training text contains only one symbol ({symbol!r}), so there is "
                "nothing to predict; give a text of at least two symbols with data.path=FILE"
            )
        evaluated = min((part for part in sizes if part != "train"), key=lambda part: sizes[part])
        asked = {"data.batch_size": (self.batch_size, "train"), "data.eval_streams": (self.eval_streams, evaluated)}
        problems = [
            f"{name}: {key}={streams} is too large for the {part} split of {sizes[part]:,} characters; "
            f"a stream needs at least 2, so set {key}={sizes[part] // 2} or less, or give more text"
            for key, (streams, part) in asked.items()
            if sizes[part] < 2 * streams
        ]
        if problems:
            raise RequestError(*problems)

    @override
    def loader(self, split: str, *, shuffle: bool = False) -> ResumableLoader:
        samples = self.resident(split)
        assert isinstance(samples, TextSamples)
        streams = self.batch_size if shuffle else self.eval_streams
        return StreamLoader(samples.tokens, streams, self.steps, jitter=shuffle, seed=self.seed, shard=self.shard())

    def references(self) -> dict[str, Scores]:
        """Uniform guessing, and n-gram models (n = 1, 2, 3) estimated on the (start of the) training split."""
        splits = self.prepared.splits
        train, reported = splits["train"], splits[self.reported_split]
        assert isinstance(train, TextSamples)
        assert isinstance(reported, TextSamples)
        return ngram_scores(train.tokens[:COUNTED].numpy(), reported.tokens.numpy(), len(self.spec.vocabulary))


def as_tensor(tokens: np.ndarray) -> Tensor:
    """Return a tensor that shares the memory, possibly of a read-only mapped file: do not write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(tokens)
