"""Inspect a trained network, given as a checkpoint or as a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from cellstate.backbone import evaluating
from cellstate.checkpoint import ForeignFileError
from cellstate.config import options
from cellstate.errors import RequestError
from cellstate.inspection.analysis import capture, describe_units, open_states, units_that_matter, walk_through
from cellstate.inspection.analysis.captured import divergence_of
from cellstate.inspection.analysis.memory_horizon import divergence_in_words
from cellstate.inspection.folder import check_empty, writing
from cellstate.inspection.measures import characters_of, influence_of, recall_on, receptive_fields, texts_of
from cellstate.inspection.result import Inspection
from cellstate.inspection.sequences import Sequences, last_alone, of_file, of_split
from cellstate.inspection.teaching import UNITS, random_bits, three_units
from cellstate.model import SequenceModel
from cellstate.runs.isolation import isolated
from cellstate.runs.ledger import Ledger
from cellstate.runs.quiet import quiet_libraries
from cellstate.scoring.evaluate import matching_data
from cellstate.scoring.scores import look
from cellstate.scoring.session import asking, open_checkpoint


@isolated()
@options.documented
def inspect(
    checkpoint: options.Checkpoint | None = None,
    *,
    input: options.Sequences = None,
    split: options.Split = "val",
    sequences: options.SequenceCount = 32,
    sequence: options.SequenceNumber = 1,
    steps: options.Steps = None,
    units: options.WalkedUnits = 3,
    seed: options.InspectionSeed = 0,
    data: options.Changes = None,
    allow_changed_data: options.ChangedData = False,
    output: Annotated[
        str | Path | None, Field(description="new or empty folder for arrays, figures and page; None writes nothing")
    ] = None,
    ledger: options.Ledger = options.LEDGER,
    trust: options.Trust = (),
) -> Inspection:
    """Inspect a trained network, as ``cellstate inspect`` does; nothing in its file is run.

    Without a checkpoint, inspect an LSTM of three units with hand-written weights (``inspection/teaching.py``).

    Raises:
        RequestError: invalid arguments; one line for each problem.
        RunError: the output cannot be written.
    """
    check_empty(output)
    check_counts(sequences=sequences, sequence=sequence, units=units, **({} if steps is None else {"steps": steps}))
    if sequence > sequences:
        raise RequestError(f"sequence={sequence}: only {sequences} are inspected; set sequences={sequence} or more")
    if checkpoint is None:
        found = inspect_model(
            three_units(), random_bits(sequences, seed), "an LSTM of three units with hand-written weights",
            sequence=sequence, seed=seed, unit_names=UNITS,
        )  # fmt: skip
    else:
        found = inspect_checkpoint(
            checkpoint, None if input is None else str(input), split, sequences, sequence, steps, units, seed,
            dict(data or {}), allow_changed_data, ledger, trust,
        )  # fmt: skip
    if output is not None:
        from cellstate.inspection.page import write  # loads matplotlib

        with writing(output, found.experiment) as folder:
            write(found, folder)
    return found


def check_counts(**counts: int) -> None:
    """Raise RequestError for counts below 1."""
    problems = [
        f"{name}={count}: should be an integer greater than 0"
        for name, count in counts.items()
        if isinstance(count, bool) or not isinstance(count, int) or count < 1
    ]
    if problems:
        raise RequestError(*problems)


def inspect_checkpoint(
    checkpoint: str | Path, file: str | None, split: str, count: int, sequence: int, steps: int | None, units: int,
    seed: int, changes: Mapping[str, Any], allow_changed: bool, ledger: str | Path, trust: options.Trust,
) -> Inspection:  # fmt: skip
    """Inspect a checkpoint; see ``inspect``."""
    try:
        stored = open_checkpoint(checkpoint, trust=trust)
    except ForeignFileError as error:
        raise RequestError(
            f"{error}; to inspect the weights of a plain PyTorch script, use Python: "
            "cellstate.inspection.analysis.load_plain, see docs/inspection.md"
        ) from error
    book = Ledger(ledger)
    if split == "test" and file is None:
        book.check()
    model = stored.model().opened
    check_inspectable(model, checkpoint)
    scored = None
    with quiet_libraries():
        if file is not None:
            if changes:
                raise RequestError(f"{', '.join(f'data.{key}' for key in changes)}: has no effect with input={file}")
            with asking(checkpoint):
                given = of_file(model, stored.data(), file, count, steps)
        else:
            scored = matching_data(stored, changes, allow_changed=allow_changed, test=split == "test")
            given = of_split(scored, split, count, steps, seed)
        name = str(stored.record["config"].get("experiment") or stored.file.stem)
        found = inspect_model(
            model, given, str(stored.file), sequence=sequence, units=units, seed=seed, experiment=name
        )
    if scored is None or split != "test":
        return found
    looks = book.add(look("inspect", stored.content, stored.file, model, scored, {}))
    return replace(found, looks=looks, ledger=str(ledger))


def check_inspectable(model: SequenceModel, checkpoint: str | Path) -> None:
    """Raise RequestError for a backbone that cannot be inspected."""
    backbone: Any = getattr(model, "backbone", None)
    try:
        with torch.no_grad():
            width = backbone.input_size if hasattr(backbone, "input_size") else 1
            open_states(backbone, torch.zeros(1, 2, width))
    except (ValueError, TypeError, AttributeError) as error:
        raise RequestError(f"checkpoint={checkpoint}: cannot inspect its backbone: {error}") from error


def inspect_model(
    model: SequenceModel, given: Sequences, source: str, *, sequence: int = 1, units: int = 3, seed: int = 0,
    unit_names: tuple[str, ...] = (), experiment: str = "three_units",
) -> Inspection:  # fmt: skip
    """Inspect a model on sequences; see ``inspect``."""
    row = sequence - 1
    if row >= given.count:
        raise RequestError(f"sequence={sequence}: only {given.count} available; choose one of these")
    batch = given.inspected
    captured = capture(model, last_alone(model, batch))
    states = captured.states()
    flow = captured.gradient_flow()
    top = [place for place, layer in enumerate(states.layers) if layer.direction == "forward"][-1]
    chosen = units_that_matter(states.layers[top], flow.layers[top], row, units)
    if unit_names:
        chosen = list(range(len(unit_names)))
    fields, problem = receptive_fields(model, given)
    recalled, no_readout = recall_on(model, given, seed)
    readable, no_units = characters_of(model, given, seed)
    depends, no_influence = influence_of(model, given, seed)
    inspector = model.inspector
    with evaluating(model), torch.no_grad():
        reading, answers = inspector.reading(batch, row), inspector.answers(batch, row)
    left_out = {
        "influence of inputs on the prediction": no_influence,
        "linear readout of the state": no_readout,
        "interpretable units": no_units,
    }
    return Inspection(
        source=source,
        experiment=experiment,
        task=type(model).__name__,
        sequences=given.source,
        keys=given.keys[: given.count],
        shown=row,
        reading=reading,
        inputs=captured.inputs,
        states=states,
        units=tuple(describe_units(layer) for layer in states.layers),
        flow=flow,
        loss=loss_in_words(model, given),
        influence=depends,
        divergence="" if depends is None else divergence_in_words(divergence_of(model)),
        recall=recalled,
        patch=inspector.patch,
        independent=given.independent,
        left_out={name: why for name, why in left_out.items() if why},
        unknown=given.unknown,
        fields=fields,
        problem=problem,
        characters=readable,
        texts=texts_of(model, given),
        walk=walk_through(states.layers[top], row, chosen),
        unit_names=unit_names,
        answers=answers,
    )


def loss_in_words(model: SequenceModel, given: Sequences) -> str:
    """Return a description of the loss that is differentiated."""
    own = (
        ", with the model's own prediction as the target (numbers: shifted by one standard deviation)"
        if given.own_answers
        else ""
    )
    return f"{model.inspector.loss_in_words}{own}"
