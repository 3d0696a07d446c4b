"""Opening a trained network: from a checkpoint, a model or a plain PyTorch network to all that is seen in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.analysis import (
    MemoryCurve,
    ReceptiveField,
    ReceptiveFieldError,
    States,
    capture,
    describe_units,
    follow,
    influence,
    influence_on,
    loss_flow,
    open_states,
    properties_at,
    recall,
    units_that_matter,
    walk_through,
)
from cellstate.analysis.characters import BEFORE, WARM
from cellstate.analysis.memory_horizon import default_lags, point_divergence
from cellstate.analysis.receptive_field import data_field, head_field
from cellstate.backbone import Backbone
from cellstate.checkpoint.trust import Trust
from cellstate.data.batch import Batch
from cellstate.data.samples import WindowSamples
from cellstate.errors import RequestError
from cellstate.evaluation import matching_data
from cellstate.experiment import look, quiet_libraries
from cellstate.inspection.answers import answers_of
from cellstate.inspection.folder import claim, refuse_taken
from cellstate.inspection.given import of_file
from cellstate.inspection.reading import Reading, reading_of, spoken_step, symbols_of
from cellstate.inspection.result import Inspection
from cellstate.inspection.sequences import Sequences, last_alone, of_split
from cellstate.inspection.teaching import UNITS, random_bits, three_units
from cellstate.model import Forecaster, LanguageModel, NextState, SequenceModel
from cellstate.runs.ledger import Ledger
from cellstate.stored import open_checkpoint

LAGS = 24  # delays at which a curve of memory is measured
RECALL_LAGS = 12  # delays of the linear readout, each of which is fitted anew
WALKED = 3  # units of a walk


def inspect(
    checkpoint: str | Path | None = None,
    *,
    input: str | Path | None = None,
    split: str = "val",
    sequences: int = 32,
    sequence: int = 1,
    steps: int | None = None,
    units: int = WALKED,
    seed: int = 0,
    data: Mapping[str, Any] | None = None,
    allow_changed_data: bool = False,
    output: str | Path | None = None,
    ledger: str | Path = "outputs/ledger.csv",
    trust: Trust = (),
) -> Inspection:
    """Open a trained network, as ``cellstate inspect`` does.

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best one is taken; nothing in it is run. None: an LSTM of
            three units whose weights are written by hand (``inspection/teaching.py``).
        input: a file of sequences to look at, in the form of the training file; None: those of ``split``.
        split: of the checkpoint's own data: ``val``, ``train`` or ``test``. The last is a look at the test split, and
            leaves a line in the ledger.
        sequences: how many to look at; the memory is measured on more where that costs little.
        sequence: which of them is drawn and walked through, from 1.
        steps: characters of each piece of a text; None: 128.
        units: how many units the walk shows.
        seed: of what is drawn: sequences, replacements, shuffles.
        data: arguments of the data to change, such as ``{"path": ...}`` where the file has moved.
        allow_changed_data: look at data that is not what the model was trained on, as far as the model can read it.
        output: a new or empty folder to write arrays, figures and page into; None writes nothing.
        ledger: where a line is left if the test split is looked at.
        trust: packages of yours whose classes the checkpoint may name, such as ``["my_package"]``; they are imported.

    Raises:
        RequestError: the request was wrong; one line for each problem.
        RunError: what was found cannot be written.
    """
    refuse_taken(output)
    check_counts(sequences=sequences, sequence=sequence, units=units, **({} if steps is None else {"steps": steps}))
    if sequence > sequences:
        raise RequestError(f"sequence={sequence}: {sequences} are looked at; set sequences={sequence} or more")
    if checkpoint is None:
        found = inspect_model(
            three_units(), random_bits(sequences, seed), "an LSTM of three units, written by hand", sequence=sequence,
            seed=seed, unit_names=UNITS,
        )  # fmt: skip
    else:
        found = inspect_checkpoint(
            checkpoint, None if input is None else str(input), split, sequences, sequence, steps, units, seed,
            dict(data or {}), allow_changed_data, ledger, trust,
        )  # fmt: skip
    if output is not None:
        from cellstate.report.inspection import write  # loads matplotlib

        write(found, claim(output, found.experiment))
    return found


def check_counts(**counts: int) -> None:
    """Refuse counts below 1 (RequestError)."""
    problems = [
        f"{name}={count}: should be a whole number greater than 0"
        for name, count in counts.items()
        if isinstance(count, bool) or not isinstance(count, int) or count < 1
    ]
    if problems:
        raise RequestError(*problems)


def inspect_checkpoint(
    checkpoint: str | Path, file: str | None, split: str, count: int, sequence: int, steps: int | None, units: int,
    seed: int, changes: Mapping[str, Any], allow_changed: bool, ledger: str | Path, trust: Trust,
) -> Inspection:  # fmt: skip
    """Open a checkpoint; see ``inspect``."""
    stored = open_checkpoint(checkpoint, trust=trust)
    book = Ledger(ledger)
    if split == "test" and file is None:
        book.check()
    model = stored.model()
    refuse_what_cannot_be_opened(model, checkpoint)
    looked = None
    with quiet_libraries():
        if file is not None:
            if changes:
                raise RequestError(f"{', '.join(f'data.{key}' for key in changes)}: input={file} is read in its place")
            given = of_file(model, stored.data(), file, count, steps)
        else:
            looked = matching_data(stored, changes, allow_changed=allow_changed, test=split == "test")
            given = of_split(looked, split, count, steps, seed)
        name = stored.record["config"].get("experiment") or stored.file.stem
        found = inspect_model(
            model, given, str(stored.file), sequence=sequence, units=units, seed=seed, experiment=str(name)
        )
    if looked is None or split != "test":
        return found
    looks = book.add(look("inspect", stored.content, stored.file, model, looked, {}))
    return found.with_looks(looks, str(ledger))


def refuse_what_cannot_be_opened(model: SequenceModel, checkpoint: str | Path) -> None:
    """Refuse a backbone of another kind (RequestError)."""
    backbone: Any = model.backbone
    try:
        with torch.no_grad():
            width = backbone.input_size if hasattr(backbone, "input_size") else 1
            open_states(backbone, torch.zeros(1, 2, width))
    except (ValueError, TypeError, AttributeError) as error:
        raise RequestError(
            f"checkpoint={checkpoint}: its backbone, a {type(backbone).__name__}, is no RNN, GRU or LSTM, and cannot "
            "be opened"
        ) from error


def inspect_model(
    model: SequenceModel, given: Sequences, source: str, *, sequence: int = 1, units: int = WALKED, seed: int = 0,
    unit_names: tuple[str, ...] = (), experiment: str = "three_units",
) -> Inspection:  # fmt: skip
    """Open a model on sequences; see ``inspect``.

    Raises:
        RequestError: there are not so many sequences.
    """
    row = sequence - 1
    if row >= given.count:
        raise RequestError(f"sequence={sequence}: there are {given.count}")
    batch = given.looked_at
    captured = capture(model, last_alone(model, batch))
    states = captured.states()
    flow = captured.gradient_flow()
    top = [place for place, layer in enumerate(states.layers) if layer.direction == "forward"][-1]
    chosen = units_that_matter(states.layers[top], flow.layers[top], row, units)
    if unit_names:
        chosen = list(range(len(unit_names)))
    fields, problem = receptive_fields(model, given)
    return Inspection(
        source=source,
        experiment=experiment,
        task=type(model).__name__,
        sequences=given.source,
        keys=given.keys[: given.count],
        shown=row,
        reading=reading_of(model, batch, row),
        inputs=captured.inputs,
        states=states,
        units=tuple(describe_units(layer) for layer in states.layers),
        flow=flow,
        loss=loss_in_words(model, given),
        influence=influence_of(model, given, seed),
        recall=recall_of(*read_by(model, given.batch), seed),
        recall_step=model.segment if isinstance(model, Forecaster) else 1,
        fields=fields,
        problem=problem,
        characters=characters_of(model, given, seed),
        texts=texts_of(model, given),
        walk=walk_through(states.layers[top], row, chosen),
        unit_names=unit_names,
        answers=answers_of(model, batch, row),
    )


def loss_in_words(model: SequenceModel, given: Sequences) -> str:
    """Return what the loss is whose gradient is followed."""
    if isinstance(model, (LanguageModel, NextState)):
        return "the cross-entropy of what follows the last step"
    if isinstance(model, Forecaster):
        what = "the loss of the forecast"
    else:
        what = "the loss of the answer to the whole sequence"
    return (
        f"{what}, against the model's own answer (of numbers: one standard deviation off)"
        if given.own_answers
        else what
    )


def read_by(model: SequenceModel, batch: Batch) -> tuple[States, Tensor]:
    """Return what the backbone goes through on all sequences, and what it is to recall: symbols, or numbers."""
    captured = capture(model, batch)
    symbols = symbols_of(batch.inputs) if captured.inputs.shape[1] == batch.inputs.shape[1] else None
    return captured.states(), captured.inputs if symbols is None else symbols


def recall_of(states: States, items: Tensor, seed: int) -> MemoryCurve | None:
    """Return what the upper layer's forward states still hold of earlier inputs; None of too few sequences."""
    layer = [layer for layer in states.layers if layer.direction == "forward"][-1]
    held = layer.h if layer.c is None else torch.cat([layer.h, layer.c], dim=-1)
    rows, _, width = held.shape
    valid = states.valid
    most = int(valid.sum(1).max()) - 1
    # All delays are measured at the same steps, those after the longest: where these are too few to fit a readout on,
    # the longest delay is half of that.
    if int(valid[:, most:].sum()) < 8 * width:
        most = (most + 1) // 2
    if rows < 4 or most < 1 or int(valid[:, most:].sum()) < 4 * width:
        return None
    if items.is_floating_point() and items.shape[-1] > 16:
        return None  # embedded values, of which no single one says how much is remembered
    try:
        return recall(held, items, default_lags(most + 1, RECALL_LAGS), valid=valid, shuffles=20, seed=seed)
    except RuntimeError:  # of the Cholesky factorisation: states that never change
        return None


def influence_of(model: SequenceModel, given: Sequences, seed: int) -> MemoryCurve | None:
    """Return how much the last prediction depends on earlier inputs; None of a single sequence."""
    batch = given.batch
    longest = batch.inputs.shape[1] if batch.lengths is None else int(batch.lengths.max())
    if len(batch.inputs) < 2:
        return None
    replacements = max(1, min(8, 128 // len(batch.inputs)))
    return influence_on(model, batch, default_lags(longest, LAGS), replacements=replacements, seed=seed)


def receptive_fields(model: SequenceModel, given: Sequences) -> tuple[dict[str, ReceptiveField], str | None]:
    """Return the fields of a forecaster, of its head and of its data, and what is wrong with them."""
    if not isinstance(model, Forecaster):
        return {}, None
    fields = {"head": head_field(model, given.batch.inputs[:4])}
    if isinstance(given.samples, WindowSamples):
        fields["series"] = data_field(model, given.samples)
    problems = []
    for field in fields.values():
        try:
            field.check()
        except ReceptiveFieldError as error:
            problems.append(str(error))
    return fields, "; ".join(dict.fromkeys(problems)) or None


def characters_of(model: SequenceModel, given: Sequences, seed: int) -> Any:
    """Return which units follow something readable; None of anything but a model of single characters."""
    vocabulary = model.spec.vocabulary
    if not isinstance(model, LanguageModel) or given.text is None or any(len(symbol) != 1 for symbol in vocabulary):
        return None
    tokens = given.batch.inputs
    if len(tokens) < 4 or tokens.shape[1] <= WARM:
        return None
    return follow(model.backbone, model.embedding, tokens, marks_of(given, vocabulary), seed=seed)


def marks_of(given: Sequences, vocabulary: tuple[str, ...]) -> dict[str, Any]:
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
    if not isinstance(model, LanguageModel) or given.text is None:
        return ()
    return tuple("".join(model.spec.vocabulary[token] for token in row) for row in given.looked_at.inputs.tolist())


def inspect_network(
    network: nn.Module | Backbone,
    inputs: Tensor,
    *,
    lengths: Tensor | None = None,
    loss: Callable[[Tensor], Tensor] | None = None,
    predict: Callable[[Tensor], Tensor] | None = None,
    divergence: Callable[[Tensor, Tensor], Tensor] | None = None,
    sequence: int = 1,
    units: int = WALKED,
    seed: int = 0,
    output: str | Path | None = None,
) -> Inspection:
    """Open a recurrent network that a plain PyTorch script trained, on inputs of yours.

        network = cellstate.analysis.load_plain("model.pt")  # or the nn.LSTM itself
        head = torch.nn.Linear(64, 10)  # of the script, with its weights
        found = cellstate.inspect_network(network, inputs, predict=lambda outputs: head(outputs[:, -1]), output="seen")

    Args:
        network: an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, what ``load_plain`` gave, or a backbone.
        inputs: ``(B, T, F)``, what it reads, batch first.
        lengths: valid steps of each row, ``(B,)``; None: all.
        loss: from the network's outputs ``(B, T, D)`` to a loss ``()``, whose gradient is followed. None: the outputs
            after each row's last step, along one random direction.
        predict: from the outputs ``(B, T, D)`` to the prediction after the last step, ``(B, K)``, whose change is
            measured where an input is replaced. None: those outputs themselves.
        divergence: between two predictions, ``(B, K)`` each, to ``(B,)``, such as
            ``analysis.memory_horizon.categorical_divergence`` of logits; None: that of logits where ``predict`` is
            given, else half of the squared distance.
        sequence: which row is drawn and walked through, from 1.
        units: how many units the walk shows.
        seed: of what is drawn.
        output: a new or empty folder to write arrays, figures and page into; None writes nothing.

    Raises:
        RequestError: the network cannot be opened, or the inputs do not fit.
        RunError: what was found cannot be written.
    """
    refuse_taken(output)
    check_counts(sequence=sequence, units=units)
    if inputs.ndim != 3 or not inputs.is_floating_point() or sequence > len(inputs):
        raise RequestError(
            f"inputs of shape {tuple(inputs.shape)}: give numbers (B, T, F), batch first"
            if inputs.ndim != 3 or not inputs.is_floating_point()
            else f"sequence={sequence}: there are {len(inputs)}"
        )
    try:
        states = open_states(network, inputs, None, lengths)
    except (ValueError, RuntimeError) as error:
        raise RequestError(f"network: cannot be opened on these inputs ({str(error).splitlines()[0]})") from error
    stops = torch.full((len(inputs),), inputs.shape[1]) if lengths is None else lengths
    direction = torch.randn(states.outputs.shape[-1], generator=torch.Generator().manual_seed(seed))

    def last(outputs: Tensor) -> Tensor:
        return outputs[torch.arange(len(outputs)), stops - 1]

    flow = loss_flow(loss or (lambda outputs: (last(outputs) @ direction.to(outputs)).mean()), states)
    compare = divergence or (None if predict is not None else point_divergence)
    curve = None
    if len(inputs) > 1:
        curve = influence(
            lambda changed: (predict or last)(open_states(network, changed, None, lengths).outputs), inputs,
            default_lags(int(stops.max()), LAGS), divergence=compare, lengths=lengths,
            replacements=max(1, min(8, 256 // len(inputs))), seed=seed,
        )  # fmt: skip
    row, top = sequence - 1, [at for at, layer in enumerate(states.layers) if layer.direction == "forward"][-1]
    chosen = units_that_matter(states.layers[top], flow.layers[top], row, units)
    read = inputs[row, : int(stops[row])].double().cpu().numpy()
    symbols = symbols_of(inputs)
    found = Inspection(
        source=f"a plain {type(network).__name__}",
        experiment="plain",
        task="",
        sequences=f"{len(inputs):,} sequence{'s' if len(inputs) > 1 else ''}, as given",
        keys=tuple(f"sequence {number}" for number in range(1, len(inputs) + 1)),
        shown=row,
        reading=Reading(tuple(map(spoken_step, read)), read),
        inputs=inputs,
        states=states,
        units=tuple(describe_units(layer) for layer in states.layers),
        flow=flow,
        loss="the loss given" if loss else "the outputs after the last step, along one random direction",
        influence=curve,
        recall=recall_of(states, inputs if symbols is None else symbols, seed),
        walk=walk_through(states.layers[top], row, chosen),
    )
    if output is not None:
        from cellstate.report.inspection import write  # loads matplotlib

        write(found, claim(output, found.experiment))
    return found
