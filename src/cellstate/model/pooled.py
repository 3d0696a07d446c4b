"""Base class of models with one output per sequence: backbone, pooling, linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory, SequenceModel
from cellstate.model.inputs import as_sequences
from cellstate.model.pooling import Pooling, PoolingKind, padded_steps


class PooledModel(SequenceModel):
    """Maps sequences ``(B, T, F)`` to ``outputs`` numbers each; see ``Classifier`` for the other arguments.

    Args:
        input_size: features that the backbone reads; None: those of the sequences.
        beside: numbers that the head reads beside the pooled outputs, for a subclass that adds them in ``vector``.

    Attributes:
        stride: steps of a sequence that are one step of the backbone.
    """

    averaged = "forward"
    stride: int = 1

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        outputs: int,
        *,
        input_size: int | None = None,
        beside: int = 0,
        pooling: PoolingKind,
        dropout: float,
        optimizer: OptimizerFactory | None,
        scheduler: SchedulerFactory | None,
    ) -> None:
        super().__init__(spec, optimizer, scheduler)
        self.backbone = backbone(input_size=input_size or spec.input_size)
        self.pooling = Pooling(self.backbone, pooling)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.output_size + beside, outputs)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits or z-scores ``(B, K)`` for sequences ``(B, T, F)``."""
        return self.head(self.dropout(self.vector(inputs, lengths)))

    def vector(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what the head reads of each sequence, ``(B, D)``."""
        return self.pooling(*self.read(inputs, lengths))

    def read(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the outputs of the backbone, ``(B, S, D)``, and how many are valid in each row, all where None."""
        return self.backbone(inputs, lengths=lengths)[0], lengths

    def update_scores(self, scores: Any, output: Tensor, batch: Batch) -> None:
        """Add one batch."""
        scores.update(output, batch.targets)

    def _rows(self, inputs: Any, lengths: Sequence[int] | Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the arguments of ``forward``: ``(B, T, F)`` scaled as in training, and lengths ``(B,)``."""
        rows = as_sequences(inputs, self.spec.input_size)
        valid = None if lengths is None else torch.as_tensor(lengths, device=rows.device)
        if self.spec.input_values:
            check_values(rows, valid, self.spec.input_values)
        if self.spec.input_mean:  # in double precision, for features with large values
            rows = (rows - rows.new_tensor(self.spec.input_mean)) / rows.new_tensor(self.spec.input_std)
        return rows.float().to(self.device), None if valid is None else valid.to(self.device)

    def _is_single(self, inputs: Any) -> bool:
        """Return whether the inputs are a single sequence, ``(T,)`` or ``(T, F)``, and not a batch."""
        given = np.shape(inputs)
        return len(given) == 1 or (len(given) == 2 and given[-1] == self.spec.input_size)


def check_values(rows: Tensor, lengths: Tensor | None, values: Sequence[float]) -> None:
    """Reject sequences ``(B, T, F)`` with other than the given values (RequestError)."""
    unknown = ~torch.isclose(rows.unsqueeze(-1), rows.new_tensor(values), rtol=1e-5, atol=1e-6).any(-1)
    if lengths is not None:
        unknown = unknown.masked_fill(padded_steps(rows, lengths), False)
    if unknown.any():
        row, step, _ = unknown.nonzero()[0].tolist()
        raise RequestError(
            f"inputs contain {rows[unknown][0].item():g} in sequence {row}, step {step} (from 0); "
            f"the data has only the values {', '.join(f'{value:g}' for value in values)}"
        )
