"""A user's labelled sequences: the files of the UCR and UEA archives, or a table with a row a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.baselines import majority
from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.files.labelled_table import Columns, read_long
from cellstate.data.files.labelled_text import read_ts, read_tsv
from cellstate.data.files.sequences import Sequences
from cellstate.data.neighbour import nearest_neighbour
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.data.synthetic.trigger_action import TriggerActionData
from cellstate.errors import RequestError, did_you_mean

SYNTHETIC = 2000  # sequences where no file is given
NAMED = 12  # classes up to which they are listed


class LabelledData(SequenceData):
    """Sequences that have a class each: the UCR and UEA archives' ``.ts`` and ``.tsv``, or a table with a row a step.

    They may differ in length and have several features, which are scaled by the z-score of the training split over all
    of its steps. Splits keep each class's share. A training split smaller than ``batch_size`` is one batch.

    Args:
        path: the file, ``.ts``, ``.tsv``, ``.csv`` or ``.parquet``; None takes synthetic sequences, those of
            ``data=trigger_action``.
        test_path: a second file, of the same form, which is the test split; None takes it from the first.
        id: of a table, the column that tells sequences apart; None takes the one called ``id``.
        label: of a table, the column with the class; None takes the one called ``label``.
        time: of a table, the column that orders the steps of a sequence; None takes the one called ``time``, and the
            order of the rows where there is none.
        time_format: of a table, the form of times such as ``%d/%m/%Y``; None takes the one that fits them.
        features: of a table, the columns to read; None takes all other columns of numbers.
        missing: what to do about missing values: ``error`` names the line and stops, ``fill`` repeats the last value
            before them (at the beginning of a sequence, the first after them).
        split: shares of training, validation and test; with ``test_path`` the first two share the first file.
        batch_size: sequences in one batch.
        seed: decides which sequences are in which split, and the order of the training sequences.
    """

    _batch_counts_samples = False

    def __init__(
        self,
        *,
        path: str | None = None,
        test_path: str | None = None,
        id: str | None = None,
        label: str | None = None,
        time: str | None = None,
        time_format: str | None = None,
        features: str | Sequence[str] | None = None,
        missing: Literal["error", "fill"] = "error",
        split: Annotated[Sequence[float], Field(min_length=3, max_length=3)] = (0.7, 0.15, 0.15),
        batch_size: PositiveInt = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.path, self.test_path, self.missing, self.split = path, test_path, missing, tuple(split)
        self.columns = Columns(id, label, time, time_format, features)

    @override
    def prepare(self) -> Prepared:
        shares = self._shares()
        given = self._read(self.path, "data.path")
        classes = class_names(given) if self.fitted is None else self._known_classes(given, self.fitted)
        chosen = stratified(given, classes, shares, self.seed)
        mean, std = given.moments(chosen["train"])
        if self.fitted is not None:
            mean, std = np.asarray(self.fitted.input_mean), np.asarray(self.fitted.input_std)
        splits = {split: given.samples(rows, classes, mean, std) for split, rows in chosen.items()}
        facts = [described(given, classes)]
        if self.test_path is not None:
            test = self._read(self.test_path, "data.test_path")
            check_alike(test, given, classes)
            splits["test"] = test.samples(np.arange(len(test)), classes, mean, std)
            facts.append(described(test, classes))
        facts.append(", ".join(f"{len(samples):,} {split}" for split, samples in splits.items()) + " sequences")
        spec = DataSpec(
            input_size=given.values.shape[1],
            input_mean=tuple(mean.tolist()),
            input_std=tuple(std.tolist()),
            feature_names=given.names,
            classes=classes,
        )
        return Prepared(spec, splits, (*facts, *self._hint()))

    @staticmethod
    def _known_classes(given: Sequences, fitted: DataSpec) -> tuple[str, ...]:
        """Return the classes of a model that was trained on other data; refuse what it has never seen."""
        for what, found, wanted in (
            ("features", given.values.shape[1], fitted.input_size),
            ("features", ", ".join(given.names), ", ".join(fitted.feature_names)),
        ):
            if found != wanted:
                raise RequestError(f"{given.source}: its {what} are {found}, those of the model {wanted}")
        check_labels(given, fitted.classes, "the model does not know the class")
        return fitted.classes

    @override
    def split_rule(self) -> dict[str, Any]:
        return {"shares": self._shares(), "order": "shuffled by the seed, each class by itself"}

    def _shares(self) -> dict[str, float]:
        """Return split -> share of the first file's sequences."""
        train, val, test = self.split
        if min(self.split) < 0 or train == 0 or val == 0 or sum(self.split) > 1 + 1e-9:
            raise RequestError(
                f"data.split=[{','.join(f'{share:g}' for share in self.split)}]: give the shares of training, "
                "validation and test, the first two above 0, together at most 1, such as [0.7,0.15,0.15]"
            )
        if self.test_path is not None:
            return {"train": train / (train + val), "val": val / (train + val)}
        return {"train": train, "val": val} if test == 0 else {"train": train, "val": val, "test": test}

    def _read(self, path: str | None, key: str) -> Sequences:
        if path is None:
            if self.test_path is not None:
                raise RequestError(f"data.path: a value is needed beside data.test_path={self.test_path}")
            return synthetic(self.seed)
        sequences = read(path, key, self.columns)
        return sequences.complete(fill=self.missing == "fill")

    def _hint(self) -> tuple[str, ...]:
        """Return a note where the archive's test file lies beside its training file, and was not asked for."""
        if self.path is None or self.test_path is not None or "_TRAIN" not in Path(self.path).name:
            return ()
        file = Path(self.path)
        test = file.with_name(file.name.replace("_TRAIN", "_TEST"))
        if not test.expanduser().is_file():
            return ()
        return (f"{test.name} lies beside it: data.test_path={test} makes it the test split",)

    def references(self) -> dict[str, Scores]:
        """The most common class, and the class of the nearest training sequence (Euclid)."""
        train, reported = self.prepared.splits["train"], self.prepared.splits[self.reported_split]
        assert isinstance(train, TensorSamples)
        assert isinstance(reported, TensorSamples)
        classes = len(self.spec.classes)
        table = majority(train.targets, reported.targets, classes)
        for metric, values in nearest_neighbour(train, reported, classes).items():
            table[metric].update(values)
        return table


def read(path: str, key: str, columns: Columns) -> Sequences:
    """Read a file by the form that its name says; ``.tsv`` is a table where ``columns`` are given.

    Raises:
        RequestError: the name says no form that is known, or columns are given for a file that has none.
    """
    form = Path(path).suffix.lower()
    if form == ".tsv" and not columns.given:
        return read_tsv(path, key)
    if form in (".csv", ".tsv", ".parquet", ".pq"):
        return read_long(path, key, columns)
    if form != ".ts":
        raise RequestError(f"{key}={path}: its name does not say what it is; give .ts, .tsv, .csv or .parquet")
    if columns.given:
        raise RequestError(f"{next(iter(columns.given))}: a .ts file has no columns to choose from; leave it out")
    return read_ts(path, key)


def synthetic(seed: int) -> Sequences:
    """Return the sequences of ``data=trigger_action`` as if they stood in a file."""
    source = TriggerActionData(seed=seed)
    samples = source.draw("train", np.arange(SYNTHETIC))
    rows = samples.inputs.double().numpy()
    labels = [source.class_names()[number] for number in samples.targets.tolist()]
    return Sequences.of_rows(list(rows), labels, range(1, SYNTHETIC + 1), "data=trigger_action")


def class_names(sequences: Sequences) -> tuple[str, ...]:
    """Return the classes: as the file declares them, else all labels in order, of numbers where they are numbers.

    Raises:
        RequestError: there is one class only.
    """
    found = set(sequences.labels)
    if len(found) < 2:
        raise RequestError(
            f"{sequences.source}: every sequence has the class {sequences.labels[0]!r}; a classifier needs two"
        )
    if sequences.declared:
        return tuple(dict.fromkeys(sequences.declared))
    try:
        return tuple(sorted(found, key=lambda label: (float(label), label)))
    except ValueError:
        return tuple(sorted(found))


def check_alike(test: Sequences, training: Sequences, classes: Sequence[str]) -> None:
    """Refuse a test file that asks for what the training file does not teach.

    Raises:
        RequestError: it has other features, or a class that no training sequence has; the line is named.
    """
    for which, found, wanted in (
        ("features", test.values.shape[1], training.values.shape[1]),
        ("features", ", ".join(test.names), ", ".join(training.names)),
    ):
        if found != wanted:
            raise RequestError(f"{test.source}: its {which} are {found}, those of {training.source} {wanted}")
    present = set(training.labels)
    check_labels(test, [name for name in classes if name in present], "no training sequence has the class")


def check_labels(sequences: Sequences, known: Sequence[str], complaint: str) -> None:
    """Refuse sequences of a class that is not known; the line of the first is named (RequestError)."""
    for row, label in enumerate(sequences.labels):
        if label not in known:
            step = int(sequences.ends[row] - sequences.lengths[row])
            raise RequestError(f"{sequences.place(step)}: {complaint} {label!r}{did_you_mean(label, known)}")


def stratified(
    sequences: Sequences, classes: Sequence[str], shares: dict[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Return split -> its sequences in the file's order; every class has its share, and at least one, in every split.

    Raises:
        RequestError: a class has fewer sequences than there are splits.
    """
    keys = CounterRandom("labelled", "split", seed).bits(np.arange(len(sequences)), 1)[:, 0]
    labels = np.array(sequences.labels)
    parts: dict[str, list[NDArray[np.int64]]] = {split: [] for split in shares}
    for label in classes:
        rows = np.flatnonzero(labels == label)
        if 0 < len(rows) < len(shares):
            step, few = int(sequences.ends[rows[0]] - sequences.lengths[rows[0]]), len(rows)
            raise RequestError(
                f"{sequences.place(step)}: the class {label!r} has {few} sequence{'s' if few > 1 else ''}, and each of "
                f"{', '.join(shares)} needs one; give more of it, or leave the class out"
            )
        rows = rows[np.argsort(keys[rows], kind="stable")]
        start = 0
        for split, count in zip(shares, shared_out(len(rows), list(shares.values())), strict=True):
            parts[split].append(rows[start : start + count])
            start += count
    return {split: np.sort(np.concatenate(chosen)) for split, chosen in parts.items()}


def shared_out(count: int, shares: Sequence[float]) -> list[int]:
    """Return how many of ``count`` things each share gets: at least one, and as near to the shares as that allows."""
    if count == 0:
        return [0] * len(shares)
    wanted = [share * count for share in shares]
    given = [max(1, int(share + 1e-9)) for share in wanted]
    total = min(count, max(round(sum(wanted)), len(shares)))
    while sum(given) != total:
        step = 1 if sum(given) < total else -1
        lacking = [(want - got) * step if got + step >= 1 else -np.inf for want, got in zip(wanted, given, strict=True)]
        given[int(np.argmax(lacking))] += step
    return given


def described(sequences: Sequences, classes: Sequence[str]) -> str:
    """Return a line on what a file holds."""
    shortest, longest = sequences.lengths.min(), sequences.lengths.max()
    steps = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
    features = ", ".join(sequences.names) if sequences.names else str(sequences.values.shape[1])
    counts = Counter(sequences.labels)
    named = ", ".join(f"{label} {counts[label]:,}" for label in classes) if len(classes) <= NAMED else "many"
    return (
        f"{sequences.source}: {len(sequences):,} sequences of {steps} steps, features: {features}; "
        f"{len(classes)} classes: {named}"
    )
