"""Sequences of states from a user's file, for next-state prediction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from cellstate.config.types import NonNegativeInt, PositiveInt
from cellstate.data.batch import UNKNOWN, DataSpec
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.files.state_file import Format, Layout, StateSequences, read_sequences
from cellstate.data.samples import TensorSamples
from cellstate.data.splitting import check_shares, spans
from cellstate.data.synthetic.chain import MarkovChain
from cellstate.data.synthetic.markov import markov_chain, markov_sequences
from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.errors import RequestError
from cellstate.metrics.chains import Steps, chain_scores
from cellstate.metrics.tokens import IGNORED, token_scores

LARGEST = 2**33  # bytes of a padded split: padding of unequal lengths can exceed the memory
Indices = NDArray[np.int64]

# Without a file: sequences of unequal length from a second-order Markov chain.
CHAIN: dict[str, Any] = {"states": 4, "order": 2, "concentration": 0.5}
CHAIN_SEQUENCES, SHORTEST, LONGEST = 4000, 10, 50


class StatesData(SequenceData):
    """Sequences of states; at every step the next state is predicted.

    Args:
        path: a UTF-8 file with one sequence per line, states separated by spaces, or a table (tab or comma separated)
            with one column per feature, one row per step, and an empty row between sequences. None generates sequences
            of a Markov chain.
        format: ``lines`` or ``table``; None infers it.
        header: whether a table's first row is a header; None: it is if none of its cells occurs in the rows below.
        separator: content of a row that separates two sequences, in addition to an empty row.
        columns: columns to read; None reads all.
        target: the column whose next state is predicted; None uses the first.
        split: shares of training, validation and test sequences, shuffled with ``seed``.
        folds: k for k-fold cross-validation instead of ``split``: the shuffled sequences are divided into k folds.
        fold: the fold used as test split, from 0; the next one is the validation split, the rest the training split.
            Over the k values of ``fold`` every sequence is tested exactly once (for a fixed seed).
        max_length: longer sequences are cut into pieces of at most this many steps, each starting from the initial
            state; None does not cut.
        batch_size: sequences per batch.
        seed: determines the split and the order of the training sequences.
    """

    gives = "vocabulary"

    def __init__(
        self,
        *,
        path: str | None = None,
        format: Format | None = None,
        header: bool | None = None,
        separator: str | None = None,
        columns: Annotated[Sequence[str], Field(min_length=1)] | None = None,
        target: str | None = None,
        split: Annotated[Sequence[float], Field(min_length=3, max_length=3)] = (0.8, 0.1, 0.1),
        folds: Annotated[int, Field(ge=3)] | None = None,
        fold: NonNegativeInt = 0,
        max_length: PositiveInt | None = None,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.path, self.split, self.folds, self.fold = path, tuple(split), folds, fold
        self.max_length = max_length
        self.layout = Layout(format, header, separator, None if columns is None else tuple(columns), target)

    @override
    def prepare(self) -> Prepared:
        check_folds(self.folds, self.fold)
        found, name = self._read()
        usable = np.flatnonzero(found.lengths > 1)
        if not len(usable):
            raise RequestError(
                f"{name}: every sequence has only one state, so there is nothing to predict; write the states of a "
                "sequence on one line, separated by spaces"
            )
        order = usable[shuffled(len(usable), self.seed)]
        parts = in_folds(order, self.folds, self.fold, name) if self.folds else in_shares(order, self.split, name)
        starts = np.cumsum(found.lengths) - found.lengths
        training = np.zeros(int(found.lengths.sum()), bool)
        training[spans(starts[parts["train"]], found.lengths[parts["train"]])] = True
        if self.fitted is None:
            features = [vocabulary_of(column, training) for column in found.columns]
        else:
            features = known_vocabularies(found, self.fitted, name)
        target = found.names.index(self.layout.target) if self.layout.target else 0
        if len(features[target]) < 3:
            column = f" of column {found.names[target]!r}" if found.names else ""
            raise RequestError(
                f"{name}: the training split{column} contains only one state ({features[target][-1]!r}), so there is "
                "nothing to predict; give sequences of at least two different states"
            )
        steps = np.stack([encode(*pair) for pair in zip(found.columns, features, strict=True)], axis=1)
        splits = {}
        for part, chosen in parts.items():
            pieces = cut(starts[chosen], found.lengths[chosen], self.max_length)
            splits[part] = padded(steps, *pieces, target=target, name=name)
        spec = DataSpec(
            vocabulary=features[target],
            features=tuple(features) if len(features) > 1 else (),
            feature_names=found.names,
            target_feature=target,
        )
        outside = np.concatenate([chosen for part, chosen in parts.items() if part != "train"])
        unknown = (steps[spans(starts[outside], found.lengths[outside])] == 0).any(axis=1).sum()
        pieces = sum(map(len, splits.values()))
        facts = (*self._facts(found, name, spec, parts), *self._remarks(found.lengths, parts, pieces, int(unknown)))
        return Prepared(spec, splits, facts)

    @override
    def split_rule(self) -> dict[str, Any]:
        order = {"order": "shuffled with the seed"}
        return order | ({"folds": self.folds, "fold": self.fold} if self.folds else {"shares": list(self.split)})

    def _read(self) -> tuple[StateSequences, str]:
        """Return the sequences and their name in messages."""
        if self.path is not None:
            return read_sequences(self.path, self.layout), self.path
        if option := self.layout.asks_for_table():
            raise RequestError(f"{option}: only a table has this option; set data.path=FILE")
        return chain_sequences(self.seed), f"a random chain of order {CHAIN['order']}"

    def _facts(self, found: StateSequences, name: str, spec: DataSpec, parts: Mapping[str, Indices]) -> Iterator[str]:
        """Yield a description of the data and its split."""
        lengths = found.lengths
        yield f"{name}: {found.described}; {len(lengths):,} sequences of {lengths.min():,} to {lengths.max():,} states"
        if spec.features:
            pairs = zip(spec.feature_names, spec.features, strict=True)
            sizes = ", ".join(f"{column} ({len(symbols) - 1:,})" for column, symbols in pairs)
            yield f"different states by column: {sizes}; predicting {spec.feature_names[spec.target_feature]}"
        else:
            yield f"{len(spec.vocabulary) - 1:,} different states"
        which = f"fold {self.fold} of {self.folds}: " if self.folds else ""
        yield which + ", ".join(f"{len(chosen):,} {part}" for part, chosen in parts.items()) + " sequences"

    def _remarks(self, lengths: Indices, parts: Mapping[str, Indices], pieces: int, unknown: int) -> Iterator[str]:
        """Yield notes on cut and ignored sequences and unknown states."""
        if pieces > sum(map(len, parts.values())):
            yield f"sequences longer than {self.max_length:,} steps were cut, giving {pieces:,} pieces"
        if short := int((lengths < 2).sum()):
            yield f"{short:,} sequences of a single state were ignored: they have no next state"
        if unknown:
            yield f"{unknown:,} steps outside the training split have a state that does not occur in it"

    @property
    def chain(self) -> MarkovChain | None:
        """The chain that generates the sequences if there is no file."""
        return markov_chain(seed=self.seed, **CHAIN) if self.path is None else None

    def optimum(self) -> Scores:
        """For a chain: the expected scores of a predictor that knows it, at the sequence lengths of the reported split.

        ``MarkovChain.optimum`` gives the mean over the L - 1 targets of a sequence of L states; the overall mean is
        weighted by the number of targets. As the chain is stationary, this also applies to pieces of cut sequences.
        """
        if self.chain is None:
            return {}
        counts, pieces = np.unique((self._steps(self.reported_split)[1] != IGNORED).sum(axis=1), return_counts=True)
        expected = [self.chain.optimum(int(count) + 1) for count in counts]
        loss, accuracy = (
            float(np.average([scores[metric] for scores in expected], weights=counts * pieces))
            for metric in ("loss", "accuracy")
        )
        return token_scores(loss, accuracy)

    def optimum_realised(self) -> Scores:
        """For a chain: the scores of that predictor on the sequences of the reported split."""
        if self.chain is None:
            return {}
        inputs, targets = self._steps(self.reported_split)
        counted = targets != IGNORED
        # The chain numbers its states from 0, the vocabulary from 1; padding is not counted.
        states = np.concatenate((inputs[:, :1], np.where(counted, targets, 1)), axis=1) - 1
        chances, hits = self.chain.predictions(states)
        return token_scores(-float(np.log(chances[counted]).mean()), float(hits[counted].mean()))

    def references(self) -> dict[str, Scores]:
        """State frequencies, and Markov chains of order 1 to 3 of the predicted feature.

        All are estimated on the training split; higher orders are interpolated with lower ones and see only the part of
        a sequence that the network sees (see ``chain_scores``).
        """
        train, reported = (self._steps(split) for split in ("train", self.reported_split))
        return chain_scores(train, reported, len(self.spec.vocabulary))

    def _steps(self, split: str) -> Steps:
        samples = self.prepared.splits[split]
        assert isinstance(samples, TensorSamples)
        inputs = samples.inputs if samples.inputs.ndim == 2 else samples.inputs[..., self.spec.target_feature]
        return inputs.numpy(), samples.targets.numpy()


def chain_sequences(seed: int) -> StateSequences:
    """Return sequences of unequal lengths from the chain of a seed; states are named A, B, ….

    Any contiguous part of a stationary chain is a sequence of the same distribution.
    """
    numbers = np.arange(CHAIN_SEQUENCES)
    drawn = markov_sequences(numbers, seed=seed, split="train", length=LONGEST, **CHAIN)
    random = CounterRandom("states", "lengths", seed)
    lengths = SHORTEST + random.integers(numbers, 1, LONGEST - SHORTEST + 1)[:, 0]
    names = np.asarray([chr(ord("A") + state) for state in range(CHAIN["states"])])
    states = names[drawn[np.arange(LONGEST) < lengths[:, None]]].tolist()
    return StateSequences([states], lengths, described="no file was given")


def check_folds(folds: int | None, fold: int) -> None:
    """Reject a nonexistent fold (RequestError)."""
    if folds is None and fold:
        raise RequestError(f"data.fold={fold}: needs data.folds; set the number of folds, such as data.folds=7")
    if folds is not None and fold >= folds:
        raise RequestError(f"data.fold={fold}: must be from 0 to {folds - 1} for data.folds={folds}")


def shuffled(count: int, seed: int) -> Indices:
    """Return a random order of ``count`` sequences, a pure function of both numbers."""
    words = CounterRandom("states", "split", seed).bits(np.arange(count), 1)[:, 0]
    return np.argsort(words, kind="stable")


def in_folds(order: Indices, folds: int, fold: int, name: str) -> dict[str, Indices]:
    """Divide sequences into folds whose sizes differ by at most one.

    Returns:
        ``test``: fold number ``fold``, ``val``: the next (cyclically), ``train``: all others.

    Raises:
        RequestError: there are fewer sequences than folds.
    """
    if len(order) < folds:
        raise RequestError(
            f"data.folds={folds}: {name} has only {counted(order)} of at least two states, but each fold "
            "needs one; set fewer folds (at least 3), or give more sequences"
        )
    number = np.arange(len(order)) % folds
    test, val = number == fold, number == (fold + 1) % folds
    return {"train": order[~(test | val)], "val": order[val], "test": order[test]}


def in_shares(order: Indices, shares: Sequence[float], name: str) -> dict[str, Indices]:
    """Split sequences in the given order into ``train``, ``val`` and, unless its share is 0, ``test``.

    Raises:
        RequestError: the shares are invalid, or leave a split without a sequence.
    """
    check_shares(shares)
    stops = np.floor(np.cumsum(shares) * len(order) + 1e-6).astype(int)
    parts = dict(zip(("train", "val", "test"), np.split(order, stops)[:3], strict=True))
    found = {part: chosen for part, chosen in parts.items() if part != "test" or shares[2] > 0}
    empty = next((part for part, chosen in found.items() if not len(chosen)), None)
    if empty:
        raise RequestError(
            f"data.split={list(shares)}: {name} has {counted(order)} of at least two states, so the {empty} split is "
            "empty; give more sequences (in a table an empty row ends a sequence), or other shares"
        )
    return found


def counted(sequences: Indices) -> str:
    """Return the number of sequences as text."""
    return f"{len(sequences):,} sequence{'s' if len(sequences) != 1 else ''}"


def vocabulary_of(column: Sequence[str], training: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the unknown symbol and the states of the training split in natural order (s2 before s10)."""
    states = {state for state, trains in zip(column, training.tolist(), strict=True) if trains}
    return (UNKNOWN, *sorted(states - {UNKNOWN}, key=natural))


def known_vocabularies(found: StateSequences, fitted: DataSpec, name: str) -> list[tuple[str, ...]]:
    """Return the vocabulary of each column of a model that was trained on other data.

    Raises:
        RequestError: the columns differ from those of the model.
    """
    known = list(fitted.features or (fitted.vocabulary,))
    if len(found.columns) != len(known) or tuple(found.names) != fitted.feature_names:
        columns, wanted = (", ".join(names) or "one, unnamed" for names in (found.names, fitted.feature_names))
        raise RequestError(f"{name}: columns: {columns}, but the model has {wanted}")
    return known


def natural(name: str) -> tuple[list[str | int], str]:
    """Return a sort key for alphabetical order in which numbers within names are compared numerically."""
    parts = re.split(r"(\d+)", name)  # text and digits alternate
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def encode(column: Sequence[str], vocabulary: Sequence[str]) -> Indices:
    """Return the index of each state ``(N,)``, 0 if it is not in the vocabulary."""
    index = {state: number for number, state in enumerate(vocabulary)}
    return np.fromiter((index.get(state, 0) for state in column), np.int64, len(column))


def cut(starts: Indices, lengths: Indices, longest: int | None) -> tuple[Indices, Indices]:
    """Return start and number of targets of each piece; each of the L - 1 targets of a sequence is in one piece."""
    steps = lengths - 1
    size = longest or max(int(steps.max()), 1)
    counts = -(-steps // size)
    number = spans(np.zeros_like(counts), counts)  # of each piece in its sequence
    whole = np.repeat(steps, counts)
    return np.repeat(starts, counts) + number * size, np.minimum(whole - number * size, size)


def padded(steps: Indices, starts: Indices, lengths: Indices, *, target: int, name: str) -> TensorSamples:
    """Return the pieces of ``steps (N, K)`` as right-padded rows; the target of a step is the state after it.

    Raises:
        RequestError: the pieces, padded to the longest, would not fit into memory.
    """
    width, features = int(lengths.max()), steps.shape[1]
    if len(starts) * width * (features + 1) * 8 > LARGEST:
        raise RequestError(
            f"{name}: {len(starts):,} sequences would be padded to the longest of {width + 1:,} states, too many for "
            "the memory; set data.max_length, such as data.max_length=500, to cut long sequences into pieces"
        )
    valid = np.arange(width) < lengths[:, None]
    rows = np.where(valid, starts[:, None] + np.arange(width), starts[:, None])
    inputs = np.where(valid[..., None], steps[rows], 0)
    targets = np.where(valid, steps[:, target][rows + 1], IGNORED)
    return TensorSamples(
        torch.from_numpy(inputs if features > 1 else inputs[..., 0]),
        torch.from_numpy(targets),
        None if valid.all() else torch.from_numpy(lengths),
    )
