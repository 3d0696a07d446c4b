"""What is measured on a model's sequences: memory, receptive field, and the units that can be read."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cellstate.data.batch import Batch
from cellstate.data.samples import WindowSamples
from cellstate.inspection.analysis import (
    Characters,
    MemoryCurve,
    ReceptiveField,
    ReceptiveFieldError,
    States,
    capture,
    follow,
    influence_on,
    properties_at,
    recall,
)
from cellstate.inspection.analysis.characters import BEFORE, WARM
from cellstate.inspection.analysis.memory_horizon import default_lags
from cellstate.inspection.analysis.receptive_field import data_field, head_field
from cellstate.inspection.sequences import FEWEST, Sequences
from cellstate.model import SequenceModel
from cellstate.model.inspector.reading import symbols_of

LAGS = 24  # delays at which a curve of memory is measured
RECALL_LAGS = 12  # delays of the linear readout, each of which is fitted anew
MOST_VALUES = 16  # of a step that is to be recalled: more are an embedding


def read_by(model: SequenceModel, batch: Batch) -> tuple[States, Tensor]:
    """Return what the backbone goes through on all sequences, and what it is to recall: symbols, or numbers."""
    captured = capture(model, batch)
    symbols = symbols_of(batch.inputs) if captured.inputs.shape[1] == batch.inputs.shape[1] else None
    return captured.states(), captured.inputs if symbols is None else symbols


def recall_on(model: SequenceModel, given: Sequences, seed: int) -> tuple[MemoryCurve | None, str]:
    """Return what a model's states still hold of earlier inputs, on independent sequences; or None, and why."""
    if given.independent < FEWEST:
        return None, too_few(given.independent, len(given.batch.inputs))
    return recall_or_why(*read_by(model, given.alone.batch), seed)


def recall_or_why(states: States, items: Tensor, seed: int) -> tuple[MemoryCurve | None, str]:
    """Return what the upper layer's forward states still hold of earlier inputs; or None, and why."""
    layer = [layer for layer in states.layers if layer.direction == "forward"][-1]
    held = layer.h if layer.c is None else torch.cat([layer.h, layer.c], dim=-1)
    rows, _, width = held.shape
    valid = states.valid
    if items.is_floating_point() and items.shape[-1] > MOST_VALUES:
        return None, (
            f"the network reads {items.shape[-1]} embedded values at once, of which no single one says how much is held"
        )
    if rows < FEWEST:
        return None, too_few(rows, rows)
    most = int(valid.sum(1).max()) - 1
    if most < 1:
        return None, "the sequences have one step, before which there is nothing"
    # All delays are measured at the same steps, those after the longest: where these are too few to fit a readout on,
    # the longest delay is half of that.
    if int(valid[:, most:].sum()) < 8 * width:
        most = (most + 1) // 2
    if (steps := int(valid[:, most:].sum())) < 4 * width:
        return None, f"{steps:,} steps are too few to fit a readout of {width:,} values on half of them"
    try:
        return recall(held, items, default_lags(most + 1, RECALL_LAGS), valid=valid, shuffles=20, seed=seed), ""
    except RuntimeError:  # of the Cholesky factorisation
        return None, "the states never change"


def too_few(independent: int, rows: int) -> str:
    """Return in words that there are not enough sequences that have nothing to do with one another."""
    others = "" if independent == rows else f" ({rows:,} in all, the others repeat these)"
    return f"it takes {FEWEST} independent sequences to tell it from chance; there {is_or_are(independent)}{others}"


def is_or_are(count: int) -> str:
    """Return a number with its verb."""
    return f"{'is' if count == 1 else 'are'} {count:,}"


def influence_of(model: SequenceModel, given: Sequences, seed: int) -> tuple[MemoryCurve | None, str]:
    """Return how much the last prediction depends on earlier inputs; or None, and why."""
    if model.inspector.prediction_kind is None:
        return None, f"a {type(model).__name__} does not say what it predicts (its inspector has no prediction_kind)"
    batch = given.alone.batch if given.independent >= FEWEST else given.batch
    longest = batch.inputs.shape[1] if batch.lengths is None else int(batch.lengths.max())
    if len(batch.inputs) < 2:
        return None, "a step is replaced by that of another sequence, and there is one"
    replacements = max(1, min(8, 128 // len(batch.inputs)))
    return influence_on(model, batch, default_lags(longest, LAGS), replacements=replacements, seed=seed), ""


def receptive_fields(model: SequenceModel, given: Sequences) -> tuple[dict[str, ReceptiveField], str | None]:
    """Return the fields of a forecast, of its head and of its data, and what is wrong; nothing without a forecast."""
    inputs = given.batch.inputs[:4]
    head = head_field(model, inputs) if inputs.is_floating_point() else None
    if head is None:
        return {}, None
    fields = {"head": head}
    if isinstance(given.samples, WindowSamples):
        fields["series"] = data_field(model, given.samples)
    problems = []
    for field in fields.values():
        try:
            field.check()
        except ReceptiveFieldError as error:
            problems.append(str(error))
    return fields, "; ".join(dict.fromkeys(problems)) or None


def characters_of(model: SequenceModel, given: Sequences, seed: int) -> tuple[Characters | None, str]:
    """Return which units follow something readable; None of anything but a model of single characters, or why not."""
    vocabulary = model.spec.vocabulary
    inspector = model.inspector
    if not inspector.reads_text or given.text is None or any(len(symbol) != 1 for symbol in vocabulary):
        return None, ""
    if given.independent < FEWEST:
        return None, too_few(given.independent, len(given.batch.inputs))
    if (width := given.batch.inputs.shape[1]) <= WARM:
        return None, f"pieces of {width} characters are too short: the first {WARM} do not count"
    given = given.alone
    marks = marks_of(given, vocabulary)
    return follow(model.backbone, inspector.embed, given.batch.inputs, marks, seed=seed), ""


def marks_of(given: Sequences, vocabulary: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the properties of all pieces of a text, of which no more is decoded than they take."""
    assert given.text is not None
    width = given.batch.inputs.shape[1]
    parts = []
    for start in given.starts:
        first = max(0, start - BEFORE)
        text = "".join(vocabulary[token] for token in given.text[first : start + width].tolist())
        parts.append(properties_at(text, [start - first], width))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def texts_of(model: SequenceModel, given: Sequences) -> tuple[str, ...]:
    """Return the text of each sequence that is looked at; nothing where they are no texts."""
    if not model.inspector.reads_text or given.text is None:
        return ()
    return tuple("".join(model.spec.vocabulary[token] for token in row) for row in given.looked_at.inputs.tolist())
