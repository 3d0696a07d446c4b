"""Measures on a model's sequences: memory, receptive field and interpretable units."""

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

LAGS = 24  # delays at which influence is measured
RECALL_LAGS = 12  # delays at which recall is measured; each needs another readout
MOST_VALUES = 16  # per step that is recalled: more are an embedding


def read_by(model: SequenceModel, batch: Batch) -> tuple[States, Tensor]:
    """Return the states of the backbone on all sequences, and its inputs: symbols or numbers."""
    captured = capture(model, batch)
    symbols = symbols_of(batch.inputs) if captured.inputs.shape[1] == batch.inputs.shape[1] else None
    return captured.states(), captured.inputs if symbols is None else symbols


def recall_on(model: SequenceModel, given: Sequences, seed: int) -> tuple[MemoryCurve | None, str]:
    """Return the recall of earlier inputs from a model's states on independent sequences, or None and the reason."""
    if given.independent < FEWEST:
        return None, too_few(given.independent, len(given.batch.inputs))
    return recall_or_why(*read_by(model, given.alone.batch), seed)


def recall_or_why(states: States, items: Tensor, seed: int) -> tuple[MemoryCurve | None, str]:
    """Return the recall of earlier inputs from the top layer's forward states, or None and the reason."""
    layer = [layer for layer in states.layers if layer.direction == "forward"][-1]
    values = layer.h if layer.c is None else torch.cat([layer.h, layer.c], dim=-1)
    rows, _, width = values.shape
    valid = states.valid
    if items.is_floating_point() and items.shape[-1] > MOST_VALUES:
        return None, f"the inputs are embeddings of {items.shape[-1]} values, more than {MOST_VALUES}"
    if rows < FEWEST:
        return None, too_few(rows, rows)
    most = int(valid.sum(1).max()) - 1
    if most < 1:
        return None, "the sequences have only one step"
    # All delays are measured at the same steps, those after the longest delay; if these are too few to fit a readout,
    # the longest delay is halved.
    if int(valid[:, most:].sum()) < 8 * width:
        most = (most + 1) // 2
    if (steps := int(valid[:, most:].sum())) < 4 * width:
        return None, f"{steps:,} steps are too few to fit a readout of {width:,} values on half of them"
    try:
        return recall(values, items, default_lags(most + 1, RECALL_LAGS), valid=valid, shuffles=20, seed=seed), ""
    except RuntimeError:  # of the Cholesky factorisation
        return None, "the states never change"


def too_few(independent: int, rows: int) -> str:
    """Return the reason for skipping a measure that needs more independent sequences."""
    others = "" if independent == rows else f" ({rows:,} in total, the others repeat these)"
    return f"needs {FEWEST} independent sequences to estimate chance, got {independent:,}{others}"


def influence_of(model: SequenceModel, given: Sequences, seed: int) -> tuple[MemoryCurve | None, str]:
    """Return how much the last prediction depends on earlier inputs, or None and the reason."""
    if model.inspector.prediction_kind is None:
        return None, f"the inspector of {type(model).__name__} has no prediction_kind"
    batch = given.alone.batch if given.independent >= FEWEST else given.batch
    longest = batch.inputs.shape[1] if batch.lengths is None else int(batch.lengths.max())
    if len(batch.inputs) < 2:
        return None, "needs 2 sequences, as a step is replaced by that of another sequence"
    replacements = max(1, min(8, 128 // len(batch.inputs)))
    return influence_on(model, batch, default_lags(longest, LAGS), replacements=replacements, seed=seed), ""


def receptive_fields(model: SequenceModel, given: Sequences) -> tuple[dict[str, ReceptiveField], str | None]:
    """Return the receptive fields of a forecaster's head and data, and any problem; empty for other models."""
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
    """Return the interpretable units of a character model, or None and the reason (empty for other models)."""
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
    """Return the properties of all pieces of a text; only the characters they need are decoded."""
    assert given.text is not None
    width = given.batch.inputs.shape[1]
    parts = []
    for start in given.starts:
        first = max(0, start - BEFORE)
        text = "".join(vocabulary[token] for token in given.text[first : start + width].tolist())
        parts.append(properties_at(text, [start - first], width))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def texts_of(model: SequenceModel, given: Sequences) -> tuple[str, ...]:
    """Return the text of each inspected sequence; empty for other models."""
    if not model.inspector.reads_text or given.text is None:
        return ()
    return tuple("".join(model.spec.vocabulary[token] for token in row) for row in given.inspected.inputs.tolist())
