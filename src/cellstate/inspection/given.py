"""Sequences of a user's own file, read as the training file was, without answers: the model gives its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellstate.data import SequenceData
from cellstate.data.batch import UNKNOWN, Batch
from cellstate.data.files.corpus import find_corpus
from cellstate.data.files.reading import existing_file
from cellstate.data.files.state_file import Layout, read_sequences
from cellstate.data.files.states import StatesData
from cellstate.errors import RequestError
from cellstate.inspection.answers import readable
from cellstate.inspection.sequences import MEMORY_ROWS, Sequences, pieces
from cellstate.metrics.tokens import IGNORED
from cellstate.model import Classifier, Forecaster, LanguageModel, NextState, Regressor, SequenceModel
from cellstate.scoring.predict import newest_windows, read_unlabelled

UNKNOWN_NAMED = 6  # unknown symbols that are named


def of_file(model: SequenceModel, data: SequenceData, path: str, count: int, steps: int | None) -> Sequences:
    """Return the sequences of a file.

    Args:
        model: which is to read them.
        data: as it was trained on, not read: it says how its files are read.
        path: of the file, in the form of the training file, as ``cellstate predict`` takes it, or a text.
        count: how many to look at.
        steps: characters of a piece of text; None: 128, or a quarter of a shorter text.

    Raises:
        RequestError: the file cannot be read, or holds what the model does not know.
    """
    existing_file(path, key="input")
    name = Path(path).name
    if isinstance(model, LanguageModel):
        tokens, unknown = encoded(model, path)
        return replace(pieces(tokens, count, steps, name), unknown=unknown)
    if steps is not None:
        raise RequestError("steps: cuts a text into pieces; these sequences have their own lengths, so leave it out")
    if isinstance(model, NextState):
        batch, keys = of_states(model, data, path)
    elif isinstance(model, Forecaster):
        batch, keys = of_series(model, data, path)
    elif isinstance(model, (Classifier, Regressor)):
        batch, keys = of_steps(model, data, path)
    else:
        raise RequestError(f"input={path}: a {type(model).__name__} cannot read a file yet; leave input out")
    shown = min(count, len(batch.inputs))
    source = f"{shown:,} sequence{'s' if shown > 1 else ''} of {name}"
    return Sequences(batch, shown, source, tuple(keys), own_answers=not isinstance(model, NextState))


def encoded(model: LanguageModel, path: str) -> tuple[Tensor, str]:
    """Return a text's tokens, ``(N,)``, and in words which of its symbols the model does not know.

    They are read as the vocabulary's symbol for these, which is its first.
    """
    index = {symbol: number for number, symbol in enumerate(model.spec.vocabulary)}
    corpus = find_corpus(path, "*", "\n")
    text = "".join(map(chr, np.concatenate(list(corpus.pieces()) or [np.zeros(0, int)]).tolist()))
    known = index.keys() - {UNKNOWN}
    return (
        torch.tensor([index.get(symbol, 0) for symbol in text], dtype=torch.long),
        unknown_in_words(Counter(symbol for symbol in text if symbol not in known), len(text)),
    )


def unknown_in_words(counts: Counter[str], length: int) -> str:
    """Return how many of a text's symbols are unknown, and which, the commonest first; empty of none."""
    if not counts:
        return ""
    total = counts.total()
    named = [f"{readable(symbol)} ({times:,})" for symbol, times in counts.most_common(UNKNOWN_NAMED)]
    more = f" and {len(counts) - UNKNOWN_NAMED:,} others" if len(counts) > UNKNOWN_NAMED else ""
    return (
        f"{total:,} of {length:,} characters, {100 * total / length:.3g} %, are none that the model was trained on and "
        f"are read as one symbol: {', '.join(named)}{more}"
    )


def of_states(model: NextState, data: SequenceData, path: str) -> tuple[Batch, list[str]]:
    """Return sequences of states, each with what follows every step but the last."""
    found = read_sequences(path, data.layout if isinstance(data, StatesData) else Layout())
    steps = found.columns[0] if len(found.columns) == 1 else list(zip(*found.columns, strict=True))
    stops = np.cumsum(found.lengths)[:MEMORY_ROWS]
    rows = []
    for number, (stop, length) in enumerate(zip(stops, found.lengths, strict=False)):
        try:
            rows.append(model.encode(steps[stop - length : stop], number))
        except RequestError as error:
            raise RequestError(f"{path}: {error.problems[0]}") from error
    longer = [row for row in rows if len(row) > 1]
    if not longer:
        raise RequestError(f"input={path}: no sequence has two states, the first to read and the second to follow it")
    feature = model.spec.target_feature
    inputs = torch.nn.utils.rnn.pad_sequence([row[:-1] for row in longer], batch_first=True)
    targets = torch.nn.utils.rnn.pad_sequence(
        [row[1:, feature] for row in longer], batch_first=True, padding_value=IGNORED
    )
    lengths = torch.tensor([len(row) - 1 for row in longer])
    keys = [f"sequence {number:,} of {Path(path).name}" for number, row in enumerate(rows, 1) if len(row) > 1]
    return Batch(inputs if inputs.shape[-1] > 1 else inputs.squeeze(-1), targets, lengths), keys


def of_series(model: Forecaster, data: SequenceData, path: str) -> tuple[Batch, list[str]]:
    """Return the newest window of each series, scaled; answers lie one standard deviation off the forecast."""
    histories, known, names = newest_windows(model, data, path)
    inputs = model.windows(histories[:MEMORY_ROWS], None if known is None else known[:MEMORY_ROWS]).float()
    with torch.no_grad():
        targets = model.eval().kind.point(model(inputs)) + 1
    keys = [f"the newest window of {name}" if name else "the newest window" for name in names]
    return Batch(inputs, targets), keys


def of_steps(model: Classifier | Regressor, data: SequenceData, path: str) -> tuple[Batch, list[str]]:
    """Return whole sequences, scaled: the answer is the likeliest class, or one standard deviation off the value."""
    key, found = read_unlabelled(model, data, path)
    starts, lengths = (found.ends - found.lengths)[:MEMORY_ROWS], found.lengths[:MEMORY_ROWS]
    steps = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
    rows = torch.from_numpy(found.values[starts[:, None] + steps]).double()
    if isinstance(model, Classifier):
        model.predict(rows, lengths.tolist())  # which refuses what this data never holds
    if model.spec.input_mean:
        rows = (rows - rows.new_tensor(model.spec.input_mean)) / rows.new_tensor(model.spec.input_std)
    inputs, valid = rows.float(), None if len(set(lengths.tolist())) == 1 else torch.as_tensor(lengths)
    with torch.no_grad():
        output = model.eval()(inputs, valid)
    targets: Any = output.argmax(-1) if isinstance(model, Classifier) else output + 1
    return Batch(inputs, targets, valid), [f"{key.name} {value}" for value in key.head(len(rows)).to_list()]
