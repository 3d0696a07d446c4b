"""What was found in a network, with all arrays behind the figures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from cellstate.inspection.analysis import Characters, GradientFlow, MemoryCurve, ReceptiveField, States, Units, Walk
from cellstate.inspection.sequences import FEWEST
from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.reading import Reading
from cellstate.runs.writing import write_whole


@dataclass(frozen=True)
class Inspection:
    """A network, opened.

    Attributes:
        source: the checkpoint, or what else was opened.
        experiment: its name.
        task: the class of the model; empty for a network alone.
        sequences: what it was looked at with, in words.
        keys: what to call each sequence.
        shown: which of them is drawn and walked through, from 0.
        reading: that one, as it was read.
        inputs: what the recurrent network read, ``(B, T, F)``.
        states: gates and states of all layers, ``(B, T, H)``.
        units: of each layer and direction, saturation, time constants, activity.
        flow: dL/dh_t and dL/dc_t, and the carry path, of all layers.
        loss: what L is, in words.
        influence: by how much the last prediction depends on each earlier input; None of a single sequence.
        divergence: what it is measured by, in words.
        recall: what the upper layer still holds of earlier inputs; None where there are too few to measure it.
        patch: steps of a series that one step of the network reads; 1 of all but a forecaster with patches. Whatever
            is counted in steps of the network, as all but ``influence`` and ``fields`` is, is counted in patches.
        independent: how many sequences the memory is measured on that have nothing to do with one another; None: all.
        left_out: what was not measured, and why, in words.
        unknown: of a text, which characters the model does not know, in words; empty of none.
        fields: of a forecaster, what the head sees of its window, ``head``, and the forecast of the series, ``series``.
        problem: what is wrong with these; None where nothing is.
        characters: of a character model, which units follow something readable.
        texts: of a character model, what each sequence reads.
        walk: some units through the sequence ``shown``, step by step.
        unit_names: of those units, where they have names.
        answers: the prediction so far, at each step of that sequence.
        looks: how often this data's test split had been looked at by then; None where it was not.
        ledger: where that is on record.
    """

    source: str
    experiment: str
    task: str
    sequences: str
    keys: tuple[str, ...]
    shown: int
    reading: Reading
    inputs: Tensor
    states: States
    units: tuple[Units, ...]
    flow: GradientFlow
    loss: str
    influence: MemoryCurve | None
    recall: MemoryCurve | None
    walk: Walk
    divergence: str = "that of the probabilities of the classes, before and after"
    patch: int = 1
    independent: int | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    unknown: str = ""
    fields: dict[str, ReceptiveField] = field(default_factory=dict)
    problem: str | None = None
    characters: Characters | None = None
    texts: tuple[str, ...] = ()
    unit_names: tuple[str, ...] = ()
    answers: Answers | None = None
    looks: int | None = None
    ledger: str = ""

    @property
    def kind(self) -> str:
        """``lstm``, ``gru``, ``rnn``, or ``own`` for a backbone of the user's."""
        return self.states.layers[0].kind

    @property
    def network(self) -> str:
        """Return the network in a few words: ``bidirectional LSTM, 2 layers of 64 units``."""
        layers, both = self.states.layers, any(layer.direction == "backward" for layer in self.states.layers)
        depth, width = layers[-1].layer + 1, layers[0].h.shape[-1]
        size = f"{depth} layer{'s' if depth > 1 else ''} of {width:,} units"
        return f"{'bidirectional ' if both else ''}{layers[0].network}, {size}{' each way' if both else ''}"

    @property
    def shown_steps(self) -> int:
        """Valid steps of the sequence that is drawn."""
        return int(self.states.valid[self.shown].sum())

    @property
    def interval(self) -> bool:
        """Whether there are enough independent sequences for an interval of ``influence``."""
        rows = 0 if self.influence is None else len(self.influence.gains)
        return (rows if self.independent is None else self.independent) >= FEWEST

    @property
    def step(self) -> str:
        """What to call one step of the network: ``step``, or ``patch`` where it reads several steps of a series."""
        return "step" if self.patch == 1 else "patch"

    @property
    def steps(self) -> str:
        """What to call several."""
        return "steps" if self.patch == 1 else "patches"

    def named(self, word: str) -> str:
        """Return ``step`` or ``steps`` and how long it is: ``patch of 24 steps``."""
        return word if self.patch == 1 else f"{word} of {self.patch} steps"

    def with_looks(self, looks: int, ledger: str) -> Inspection:
        """Return the same with what the ledger says."""
        return replace(self, looks=looks, ledger=ledger)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays, as ``arrays.npz`` has them: see docs/inspection.md for their names and shapes."""
        found = {"inputs": self.inputs.detach().cpu().numpy(), "keys": np.asarray(self.keys)}
        found |= self.states.arrays() | self.flow.arrays()
        for units in self.units:
            for gate, share in units.saturation.items():
                found[f"{units.name}.{gate}.shut"] = share.shut.cpu().numpy()
                found[f"{units.name}.{gate}.open"] = share.open.cpu().numpy()
            if units.time_constant is not None:
                found[f"{units.name}.time_constant"] = units.time_constant.cpu().numpy()
        for name, curve in (("influence", self.influence), ("recall", self.recall)):
            if curve is not None:
                found |= {f"{name}.{part}": values for part, values in of_curve(curve).items()}
        for name, seen in self.fields.items():
            found[f"field.{name}"] = seen.strength.cpu().numpy()
        if self.answers is not None:
            found |= {"answers": self.answers.values, "answers.names": np.asarray(self.answers.names)}
        if self.characters is not None:
            found |= {
                "characters.strength": self.characters.strength,
                "characters.bound": self.characters.bound,
                "characters.what": np.asarray(self.characters.what),
                "characters.states": np.asarray(self.characters.states),
                "characters.units": np.asarray(self.characters.units),
            }
        return found

    def write_arrays(self, path: Path) -> None:
        """Write ``arrays`` as ``.npz``.

        Raises:
            RunError: the disk is full or cannot be written.
        """

        def save(draft: Path) -> None:
            with draft.open("wb") as file:  # numpy would add a suffix to a name
                np.savez(file, **self.arrays())  # type: ignore[arg-type]

        write_whole(path, save)


def of_curve(curve: MemoryCurve) -> dict[str, np.ndarray]:
    """Return a curve of memory, its interval, what chance gives, and the half-memory length with its interval."""
    low, high = curve.interval()
    half = curve.half_memory()
    nan = float("nan")
    return {
        "lags": curve.lags,
        "values": curve.values,
        "low": low,
        "high": high,
        "chance": curve.chance,
        "chance_high": curve.chance + curve.chance_high,
        "half_memory": np.asarray([nan if value is None else value for value in (half.steps, half.low, half.high)]),
    }
