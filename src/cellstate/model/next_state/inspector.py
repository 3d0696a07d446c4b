"""Support of ``cellstate inspect`` for next-state prediction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from cellstate.data.batch import Batch
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED
from cellstate.model.inspector.every_step import EveryStepInspector
from cellstate.model.inspector.inspector import FileSequences
from cellstate.model.next_state.prediction import read_states

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.next_state.model import NextState


class NextStateInspector(EveryStepInspector):
    """A file also contains the targets: the next state of every state but the last."""

    model: NextState

    def read_sequences(self, data: SequenceData, path: str, most: int) -> FileSequences:
        """Return sequences of states, each with the next state of every step but the last."""
        rows = []
        for number, sequence in enumerate(read_states(data, path).sequences[:most]):
            try:
                rows.append(self.model.encode(sequence, number))
            except RequestError as error:
                raise RequestError(f"{path}: {error.problems[0]}") from error
        longer = [row for row in rows if len(row) > 1]
        if not longer:
            raise RequestError(f"input={path}: no sequence has at least two states, an input and its target")
        feature = self.model.spec.target_feature
        inputs = pad_sequence([row[:-1] for row in longer], batch_first=True)
        targets = pad_sequence([row[1:, feature] for row in longer], batch_first=True, padding_value=IGNORED)
        lengths = torch.tensor([len(row) - 1 for row in longer])
        keys = tuple(f"sequence {number:,} of {Path(path).name}" for number, row in enumerate(rows, 1) if len(row) > 1)
        batch = Batch(inputs if inputs.shape[-1] > 1 else inputs.squeeze(-1), targets, lengths)
        return FileSequences(batch, keys, own_answers=False)
