"""The result of an inspection, with all arrays behind the figures."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """The result of an inspection.

    Attributes:
        source: the checkpoint, or a description of the network.
        experiment: its name.
        task: the class of the model; empty for a network without one.
        sequences: description of the sequences.
        keys: name of each sequence.
        shown: index of the sequence that is drawn and walked through.
        reading: the inputs of that sequence.
        inputs: of the recurrent network, ``(B, T, F)``.
        states: gates and states of all layers, ``(B, T, H)``.
        units: of each layer and direction, saturation and time constants.
        flow: dL/dh_t and dL/dc_t, and the carry path, of all layers.
        loss: description of L.
        influence: how much the last prediction depends on each earlier input; None for a single sequence.
        divergence: description of its measure.
        recall: earlier inputs that can be recalled from the top layer; None if there are too few sequences.
        patch: steps of a series in one step of the network; above 1 only for a forecaster with patches. All counts of
            steps except in ``influence`` and ``fields`` are then counts of patches.
        independent: number of independent sequences that memory is measured on; None: all.
        left_out: analyses that were skipped -> reason.
        unknown: characters of a text that the model does not know, in words; empty if none.
        fields: receptive fields of a forecaster: of the head in its window, ``head``, and in the series, ``series``.
        problem: description of an unexpected receptive field; None if there is none.
        characters: units of a character model that track a property of the text.
        texts: text of each sequence of a character model.
        walk: some units through the sequence ``shown``, step by step.
        unit_names: names of those units, if they have any.
        answers: the prediction so far at each step of that sequence.
        looks: evaluations of this data's test split recorded so far; None for other splits.
        ledger: file of that record.
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
    divergence: str = "KL divergence between the class probabilities before and after"
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
        """``lstm``, ``gru``, ``rnn``, or ``custom``."""
        return self.states.layers[0].kind

    @property
    def network(self) -> str:
        """Description of the network: ``bidirectional LSTM, 2 layers of 64 units``."""
        layers, both = self.states.layers, any(layer.direction == "backward" for layer in self.states.layers)
        depth, width = layers[-1].layer + 1, layers[0].h.shape[-1]
        size = f"{depth} layer{'s' if depth > 1 else ''} of {width:,} units"
        return f"{'bidirectional ' if both else ''}{layers[0].network}, {size}"

    @property
    def shown_steps(self) -> int:
        """Number of valid steps of the sequence that is drawn."""
        return int(self.states.valid[self.shown].sum())

    @property
    def interval(self) -> bool:
        """Whether there are enough independent sequences for an interval of ``influence``."""
        rows = 0 if self.influence is None else len(self.influence.gains)
        return (rows if self.independent is None else self.independent) >= FEWEST

    @property
    def step(self) -> str:
        """Name of one step of the network: ``step``, or ``patch`` if it reads several steps of a series."""
        return "step" if self.patch == 1 else "patch"

    @property
    def steps(self) -> str:
        """Plural of ``step``."""
        return "steps" if self.patch == 1 else "patches"

    def named(self, word: str) -> str:
        """Return ``step`` or ``steps`` with the length of a patch: ``patch of 24 steps``."""
        return word if self.patch == 1 else f"{word} of {self.patch} steps"

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays of ``arrays.npz``; docs/inspection.md lists their names and shapes."""
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
        """Write ``arrays`` as ``.npz``."""

        def save(draft: Path) -> None:
            with draft.open("wb") as file:  # numpy would add a suffix to a name
                np.savez(file, **self.arrays())  # type: ignore[arg-type]

        write_whole(path, save)


def of_curve(curve: MemoryCurve) -> dict[str, np.ndarray]:
    """Return the arrays of a memory curve: values, intervals, chance level and half-memory length."""
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
