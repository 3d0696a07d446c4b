"""Next states of the sequences in a user's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cellstate.data.files.state_file import ONE_PER_LINE, Layout, read_sequences
from cellstate.data.files.states import StatesData
from cellstate.errors import RequestError
from cellstate.model.inputs import ROWS

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.next_state.model import NextState


@dataclass(frozen=True)
class FileStates:
    """The sequences of a file, each a list of states or of tuples of states, and a description of its format."""

    sequences: list[Any]
    described: str


def predict_file(model: NextState, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the likeliest next state of each sequence and the probability of every state, by line or number."""
    found = read_states(data, path)
    sequences, key = found.sequences, pl.Series("sequence", np.arange(1, len(found.sequences) + 1))
    if found.described == ONE_PER_LINE:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").split("\n")
        key = pl.Series("line", [number for number, line in enumerate(lines, start=1) if line.split()])
    for number, sequence in enumerate(sequences):
        try:
            model.encode(sequence, number)
        except RequestError as error:
            place = f"{path}, line {key[number]}" if key.name == "line" else path
            raise RequestError(f"{place}: {error.problems[0]}") from error
    parts = [model.predict(sequences[begin : begin + ROWS]) for begin in range(0, len(sequences), ROWS)]
    probabilities = np.concatenate([part["probabilities"] for part in parts])
    states = np.concatenate([part["states"] for part in parts]).tolist()
    columns = {f"probability_{state}": probabilities[:, at] for at, state in enumerate(parts[0]["vocabulary"])}
    return pl.DataFrame({key.name: key, "next_state": states, **columns})


def read_states(data: SequenceData, path: str) -> FileStates:
    """Return the sequences of a file, read like the training file."""
    found = read_sequences(path, data.layout if isinstance(data, StatesData) else Layout())
    steps = found.columns[0] if len(found.columns) == 1 else list(zip(*found.columns, strict=True))
    stops = np.cumsum(found.lengths)
    sequences = [steps[stop - length : stop] for stop, length in zip(stops, found.lengths, strict=True)]
    return FileStates(sequences, found.described)
