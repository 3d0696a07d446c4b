"""Inspection of models with one answer per sequence of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cellstate.data.batch import Batch
from cellstate.data.files.unlabelled import read_unlabelled
from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.inspector import FileSequences, Inspector, row_of

if TYPE_CHECKING:
    from cellstate.data import SequenceData

HELD = 65536  # steps per batch


class WholeSequenceInspector(Inspector, ABC):
    """For a model whose output is ``(B, K)`` for sequences ``(B, T, F)``, called with inputs and lengths."""

    loss_in_words = "the loss of the answer to the entire sequence"

    @abstractmethod
    def spoken(self, outputs: Tensor) -> Answers:
        """Return outputs ``(T, K)``, in double precision, as answers."""

    @abstractmethod
    def own_targets(self, outputs: Tensor) -> Tensor:
        """Return targets for outputs ``(B, K)`` of sequences without any."""

    def check(self, rows: Tensor, lengths: list[int]) -> None:
        """Reject unscaled sequences ``(B, T, F)`` that cannot occur in the data (RequestError)."""

    def answers(self, batch: Batch, row: int) -> Answers:
        """Return the answer to the prefix of the sequence at each step of the network."""
        read = row_of(batch, row)
        steps = read.shape[1]
        ends = torch.arange(self.patch, steps + self.patch, self.patch).clamp(max=steps)
        parts = [
            self.model(read.expand(len(some), -1, -1)[:, : int(some.max())], some)
            for some in ends.split(max(1, HELD // steps))
        ]
        return self.spoken(torch.cat(parts).double())

    def read_sequences(self, data: SequenceData, path: str, most: int) -> FileSequences:
        """Return the sequences, scaled as in training."""
        spec = self.model.spec
        key, found = read_unlabelled(spec, data, path)
        starts, lengths = (found.ends - found.lengths)[:most], found.lengths[:most]
        steps = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        rows = torch.from_numpy(found.values[starts[:, None] + steps]).double()
        self.check(rows, lengths.tolist())
        if spec.input_mean:
            rows = (rows - rows.new_tensor(spec.input_mean)) / rows.new_tensor(spec.input_std)
        inputs, valid = rows.float(), None if len(set(lengths.tolist())) == 1 else torch.as_tensor(lengths)
        targets = self.own_targets(self.model(inputs, valid))
        keys = tuple(f"{key.name} {value}" for value in key.head(len(rows)).to_list())
        return FileSequences(Batch(inputs, targets, valid), keys)
