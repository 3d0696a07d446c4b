"""User-provided labelled sequences: files of the UCR and UEA archives, or a table with one row per step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
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
from cellstate.data.minirocket import minirocket
from cellstate.data.neighbour import nearest_neighbour
from cellstate.data.samples import TensorSamples
from cellstate.data.splitting import check_shares
from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.data.synthetic.trigger_action import TriggerActionData
from cellstate.errors import RequestError, did_you_mean

DEFAULT_SPLIT = (0.7, 0.15, 0.15)
SYNTHETIC = 2000  # sequences without a file
NAMED = 12  # most classes that are listed by name


class LabelledData(SequenceData):
    """Sequences with one class each: ``.ts`` and ``.tsv`` of the UCR and UEA archives, or a table of one row per step.

    Sequences may differ in length and have several features, which are standardised with mean and standard deviation
    over all steps of the training split. Splits are stratified. A training split below ``batch_size`` is one batch.

    Args:
        path: the file, ``.ts``, ``.tsv``, ``.csv`` or ``.parquet``; None uses the synthetic sequences
            of ``data=trigger_action``.
        test_path: a second file of the same format, used as the test split; None splits it off the first.
        id: for a table, the column that identifies the sequence; None uses the column ``id``.
        label: for a table, the column with the class; None uses the column ``label``.
        time: for a table, the column that orders the steps of a sequence; None uses the column ``time`` if it exists,
            else the order of the rows.
        time_format: for a table, the format of times, such as ``%d/%m/%Y``; None infers it.
        features: for a table, the columns to read; None reads all other numeric columns, without those that only
            count the steps if there is no time column.
        missing: treatment of missing values: ``error`` raises an error that names the line, ``fill`` repeats the last
            value before them (at the start of a sequence, the first value after them).
        split: shares of training, validation and test; with ``test_path`` the first two divide the first file. None
            takes 0.7, 0.15 and 0.15; with ``test_path`` all of the first file for training, and no validation split.
        classical: whether MiniRocket stands beside the result, which needs the extra ``classical`` (aeon).
        batch_size: sequences per batch.
        seed: determines the split and the order of the training sequences.
    """

    gives = "classes"

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
        split: Annotated[Sequence[float], Field(min_length=3, max_length=3)] | None = DEFAULT_SPLIT,
        classical: bool = False,
        batch_size: PositiveInt = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.path, self.test_path, self.missing, self.classical = path, test_path, missing, classical
        self.split = tuple(split or (DEFAULT_SPLIT if test_path is None else (1.0, 0.0, 0.0)))
        self.columns = Columns(id, label, time, time_format, features)

    @override
    def prepare(self) -> Prepared:
        shares = self._shares()
        given = self._read(self.path, "data.path")
        if self.fitted is None:
            classes = class_names(given)
        else:
            classes = self.fitted.classes
            if set(given.steps) & set(self.fitted.feature_names):  # the model reads them
                given = self._read(self.path, "data.path", self.fitted.feature_names)
            check_features(given, self.fitted.input_size, self.fitted.feature_names, "the model")
            check_labels(given, classes, "the model does not know the class")
        chosen = stratified(given, classes, shares, self.seed)
        mean, std = given.moments(chosen["train"])
        if self.fitted is not None:
            mean, std = np.asarray(self.fitted.input_mean), np.asarray(self.fitted.input_std)
        splits = {split: given.samples(rows, classes, mean, std) for split, rows in chosen.items()}
        facts = [described(given, classes)]
        if given.steps:
            features = ",".join((*given.steps, *given.names))
            facts.append(
                f"{', '.join(given.steps)}: counts the steps of every sequence, not used as a feature "
                f"(data.features=[{features}] reads it too)"
            )
        if self.test_path is not None:
            test = self._read(self.test_path, "data.test_path", given.names if given.steps else ())
            check_features(test, given.values.shape[1], given.names, given.source)
            known = set(given.labels)
            check_labels(test, [name for name in classes if name in known], "no training sequence has the class")
            splits["test"] = test.samples(np.arange(len(test)), classes, mean, std)
            facts.append(described(test, classes))
        facts.append(", ".join(f"{len(samples):,} {split}" for split, samples in splits.items()) + " sequences")
        spec = DataSpec(
            input_size=given.values.shape[1],
            input_mean=tuple(mean.tolist()),
            input_std=tuple(std.tolist()),
            feature_names=given.names,
            classes=classes,
            longest=int(given.lengths[chosen["train"]].max()) if self.fitted is None else self.fitted.longest,
        )
        return Prepared(spec, splits, (*facts, *self._hint()))

    @override
    def split_rule(self) -> dict[str, Any]:
        return {"shares": self._shares(), "order": "shuffled with the seed, stratified by class"}

    def _shares(self) -> dict[str, float]:
        """Return split -> share of the first file's sequences."""
        check_shares(self.split, validation=False)
        train, val, test = self.split
        if self.test_path is not None:
            train, val, test = train / (train + val), val / (train + val), 0
        return {split: share for split, share in (("train", train), ("val", val), ("test", test)) if share}

    def _read(self, path: str | None, key: str, features: Sequence[str] = ()) -> Sequences:
        """Read a file; of a table the given features, by default those of ``self.columns``."""
        if path is None:
            if self.test_path is not None:
                raise RequestError(f"data.path: a value is required with data.test_path={self.test_path}")
            return synthetic(self.seed)
        sequences = read(path, key, replace(self.columns, features=features) if features else self.columns)
        return sequences.complete(fill=self.missing == "fill")

    def _hint(self) -> tuple[str, ...]:
        """Return a note if the archive's test file is next to its training file but is not used."""
        if self.path is None or self.test_path is not None or "_TRAIN" not in Path(self.path).name:
            return ()
        file = Path(self.path)
        test = file.with_name(file.name.replace("_TRAIN", "_TEST"))
        if not test.expanduser().is_file():
            return ()
        return (f"{test.name} is in the same folder: data.test_path={test} makes it the test split",)

    def references(self) -> dict[str, Scores]:
        """The most common class, that of the nearest training sequence, and if asked for MiniRocket."""
        train, reported = self.prepared.splits["train"], self.prepared.splits[self.reported_split]
        assert isinstance(train, TensorSamples)
        assert isinstance(reported, TensorSamples)
        classes = len(self.spec.classes)
        table = majority(train.targets, reported.targets, classes)
        further = [nearest_neighbour(train, reported, classes)]
        if self.classical:
            further.append(minirocket(train, reported, classes, self.seed))
        for part in further:
            for metric, values in part.items():
                table[metric].update(values)
        return table


def read(path: str, key: str, columns: Columns) -> Sequences:
    """Read a file in the format given by its suffix; ``.tsv`` is a table if ``columns`` are given.

    Raises:
        RequestError: the suffix is unknown, or columns are given for a file without columns.
    """
    form = Path(path).suffix.lower()
    if form == ".tsv" and not columns.given:
        return read_tsv(path, key)
    if form in (".csv", ".tsv", ".parquet", ".pq"):
        return read_long(path, key, columns)[1]
    if form != ".ts":
        raise RequestError(f"{key}={path}: unknown file type; give .ts, .tsv, .csv or .parquet")
    if columns.given:
        raise RequestError(f"{next(iter(columns.given))}: a .ts file has no columns to choose from; remove this option")
    return read_ts(path, key)


def synthetic(seed: int) -> Sequences:
    """Return the sequences of ``data=trigger_action`` in the form of a file's."""
    source = TriggerActionData(seed=seed)
    samples = source.draw("train", np.arange(SYNTHETIC))
    rows = samples.inputs.double().numpy()
    labels = [source.class_names()[number] for number in samples.targets.tolist()]
    return Sequences.of_rows(list(rows), labels, range(1, SYNTHETIC + 1), "data=trigger_action")


def class_names(sequences: Sequences) -> tuple[str, ...]:
    """Return the classes: as the file declares them, else all labels sorted, numerically if all are numbers.

    Raises:
        RequestError: there is only one class.
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


def check_features(sequences: Sequences, size: int, names: Sequence[str], whose: str) -> None:
    """Reject sequences whose features differ from those of a model or a training file (RequestError)."""
    for found, wanted in ((sequences.values.shape[1], size), (", ".join(sequences.names), ", ".join(names))):
        if found != wanted:
            raise RequestError(f"{sequences.source}: features: {found}, but {whose} has {wanted}")


def check_labels(sequences: Sequences, known: Sequence[str], complaint: str) -> None:
    """Reject sequences of an unknown class; the line of the first is named (RequestError)."""
    for row, label in enumerate(sequences.labels):
        if label not in known:
            step = int(sequences.ends[row] - sequences.lengths[row])
            raise RequestError(f"{sequences.place(step)}: {complaint} {label!r}{did_you_mean(label, known)}")


def stratified(
    sequences: Sequences, classes: Sequence[str], shares: dict[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Return split -> its sequences in the file's order, stratified: every split has at least one of each class.

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
                f"{sequences.place(step)}: the class {label!r} has {few} sequence{'s' if few > 1 else ''}, but each of "
                f"{', '.join(shares)} needs one; give more sequences of it, or remove the class"
            )
        rows = rows[np.argsort(keys[rows], kind="stable")]
        start = 0
        for split, count in zip(shares, shared_out(len(rows), list(shares.values())), strict=True):
            parts[split].append(rows[start : start + count])
            start += count
    return {split: np.sort(np.concatenate(chosen)) for split, chosen in parts.items()}


def shared_out(count: int, shares: Sequence[float]) -> list[int]:
    """Apportion ``count`` items by shares: at least one each, otherwise as close to the shares as possible."""
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
    """Return a one-line description of a file."""
    shortest, longest = sequences.lengths.min(), sequences.lengths.max()
    steps = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
    features = ", ".join(sequences.names) if sequences.names else str(sequences.values.shape[1])
    counts = Counter(sequences.labels)
    named = ", ".join(f"{label} {counts[label]:,}" for label in classes) if len(classes) <= NAMED else "many"
    return (
        f"{sequences.source}: {len(sequences):,} sequences of {steps} steps, features: {features}; "
        f"{len(classes)} classes: {named}"
    )
