"""Text as a stream of characters: the data of a character language model."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from cellstate.annotations import PositiveInt
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.files.reading import existing_file
from cellstate.data.loader import ResumableLoader, StreamLoader
from cellstate.data.samples import Samples, tensor_bytes
from cellstate.errors import RequestError
from cellstate.metrics.tokens import ngram_scores

UNKNOWN = "\ufffd"  # stands for every symbol that the training split does not hold


class TextSamples(Samples):
    """One stretch of encoded text, ``tokens (N,)``; a stream loader reads it, not an index."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens) - 1  # every token but the first is a target

    @override
    def batch(self, indices: Tensor) -> Batch:
        return Batch(self.tokens[indices].unsqueeze(1), self.tokens[indices + 1].unsqueeze(1))

    @override
    def to(self, device: torch.device) -> TextSamples:
        return TextSamples(self.tokens.to(device))

    @override
    def nbytes(self) -> int:
        return self.tokens.nbytes

    @override
    def update_digest(self, digest: hashlib._Hash) -> None:
        digest.update(tensor_bytes(self.tokens))


class TextData(SequenceData):
    """A UTF-8 text file, cut in order into training, validation and (if asked for) test text.

    Args:
        path: the file; None takes the English help texts that Python itself carries (``pydoc_data.topics``).
        split: shares of training, validation and test text, in the file's order; a share of 0 leaves a split out.
        batch_size: streams that are read side by side in training.
        steps: characters a stream advances in one batch: the length of truncated backpropagation through time.
        eval_streams: streams in evaluation; fixed, so that scores do not depend on the training batch.
        seed: decides where each epoch cuts the streams.
    """

    _batch_counts_samples = False

    def __init__(
        self,
        *,
        path: str | None = None,
        split: Annotated[Sequence[float], Field(min_length=3, max_length=3)] = (0.9, 0.1, 0.0),
        batch_size: PositiveInt = 64,
        steps: PositiveInt = 64,
        eval_streams: PositiveInt = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.path, self.split = path, tuple(split)
        self.steps, self.eval_streams = steps, eval_streams

    @override
    def prepare(self) -> Prepared:
        text, name = (read_text(self.path), self.path) if self.path is not None else (python_topics(), "pydoc_data")
        parts = cut(text, self.split)
        vocabulary = (UNKNOWN, *sorted(set(parts["train"]) - {UNKNOWN}))
        if len(vocabulary) < 3:
            raise RequestError(
                f"{name}: the training text holds one symbol only ({vocabulary[-1]!r}), so that there is nothing "
                "to predict; give a text of at least two symbols with data.path=FILE"
            )
        self._check_size(parts, name)
        encoded = {part: TextSamples(encode(content, vocabulary)) for part, content in parts.items()}
        unknown = sum(int((samples.tokens == 0).sum()) for part, samples in encoded.items() if part != "train")
        sizes = ", ".join(f"{len(content):,} {part}" for part, content in parts.items())
        facts = [f"{name}: {sizes} characters, {len(vocabulary) - 1} symbols"]
        if unknown:
            facts.append(f"{unknown:,} characters outside the training split are symbols it does not hold")
        return Prepared(DataSpec(vocabulary=vocabulary), encoded, tuple(facts))

    def _check_size(self, parts: dict[str, str], name: str) -> None:
        problems = []
        for part, content in parts.items():
            streams = self.batch_size if part == "train" else self.eval_streams
            if len(content) < 2 * streams:
                key = "data.batch_size" if part == "train" else "data.eval_streams"
                problems.append(
                    f"{name}: {key}={streams} is larger than the {part} split allows, which has {len(content):,} "
                    f"characters; a stream needs 2, so set {key}={max(1, len(content) // 2)} or less, or give more text"
                )
        if problems:
            raise RequestError(*problems)

    @override
    def loader(self, split: str, *, shuffle: bool = False) -> ResumableLoader:
        samples = self.resident(split)
        assert isinstance(samples, TextSamples)
        streams = self.batch_size if shuffle else self.eval_streams
        return StreamLoader(
            samples.tokens.long(), streams, self.steps, jitter=shuffle, seed=self.seed, shard=self.shard()
        )

    def references(self) -> dict[str, Scores]:
        """Uniform guessing, and n-gram models (n = 1, 2, 3) that were counted on the training split."""
        splits = self.prepared.splits
        train, reported = splits["train"], splits[self.reported_split]
        assert isinstance(train, TextSamples)
        assert isinstance(reported, TextSamples)
        return ngram_scores(train.tokens.numpy(), reported.tokens.numpy(), len(self.spec.vocabulary))


def read_text(path: str) -> str:
    """Read a UTF-8 file.

    Raises:
        RequestError: no such file, an empty file, or bytes that are not UTF-8 (the message says where).
    """
    file = existing_file(path, key="data.path")
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path}, line {line}: byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from error
    if not text:
        raise RequestError(f"{path}: the file is empty; give a text file with data.path=FILE")
    return text


def python_topics() -> str:
    """Return the English help topics of this Python, one after the other in the order of their names."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def cut(text: str, shares: Sequence[float]) -> dict[str, str]:
    """Cut a text in order into ``train``, ``val`` and ``test``; parts with a share of 0 are left out.

    Raises:
        RequestError: the shares are not three numbers of 0 or more with a sum of at most 1, or no text trains.
    """
    if min(shares) < 0 or sum(shares) > 1 + 1e-9 or shares[0] <= 0 or shares[1] <= 0:
        raise RequestError(
            f"data.split={list(shares)}: give the shares of training, validation and test text, "
            "the first two above 0, together at most 1, such as [0.9,0.05,0.05]"
        )
    stops = [len(text) if total > 1 - 1e-9 else int(len(text) * total) for total in itertools.accumulate(shares)]
    parts = {"train": text[: stops[0]], "val": text[stops[0] : stops[1]], "test": text[stops[1] : stops[2]]}
    return {name: part for name, part in parts.items() if name != "test" or shares[2] > 0}


def encode(text: str, vocabulary: Sequence[str]) -> Tensor:
    """Return the index of each character in the vocabulary, 0 where it is not there, as int32 ``(N,)``."""
    table = np.zeros(0x110000, dtype=np.int32)
    table[[ord(symbol) for symbol in vocabulary]] = np.arange(len(vocabulary), dtype=np.int32)
    points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    return torch.from_numpy(table[points])
