"""Samples: all sequences of a split as tensors, from which a batch is a single indexing operation."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor
from typing_extensions import override

from cellstate.data.batch import Batch


class Samples(ABC):
    """A finite list of samples that returns batches by index."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Return the samples at ``indices (B,)`` as one batch, without a Python loop over samples."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """Return the same samples on ``device``."""

    @abstractmethod
    def nbytes(self) -> int:
        """Return the memory of the samples in bytes."""

    @abstractmethod
    def update_digest(self, digest: hashlib._Hash) -> None:
        """Update ``digest`` with everything that defines the samples."""


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return the raw content of a tensor."""
    return tensor.detach().cpu().contiguous().numpy().tobytes()


class TensorSamples(Samples):
    """Samples of equal width: inputs ``(N, T, …)``, targets ``(N, …)``, lengths ``(N,)`` or None."""

    def __init__(self, inputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> None:
        self.inputs, self.targets, self.lengths = inputs, targets, lengths

    @property
    def valid_steps(self) -> Tensor:
        """The number of valid steps of each sample, ``(N,)``."""
        return torch.full((len(self),), self.inputs.shape[1]) if self.lengths is None else self.lengths

    def __len__(self) -> int:
        return len(self.inputs)

    @override
    def batch(self, indices: Tensor) -> Batch:
        lengths = None if self.lengths is None else self.lengths[indices]
        return Batch(self.inputs[indices], self.targets[indices], lengths)

    @override
    def to(self, device: torch.device) -> TensorSamples:
        lengths = None if self.lengths is None else self.lengths.to(device)
        return TensorSamples(self.inputs.to(device), self.targets.to(device), lengths)

    @override
    def nbytes(self) -> int:
        tensors = (self.inputs, self.targets, self.lengths)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @override
    def update_digest(self, digest: hashlib._Hash) -> None:
        for tensor in (self.inputs, self.targets, self.lengths):
            if tensor is not None:
                digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
                digest.update(tensor_bytes(tensor))


class WindowSamples(Samples):
    """Windows of one or several long series: inputs are ``window`` steps, targets the ``horizon`` steps that follow.

    The concatenated series ``values (N, C)`` are stored once; a batch is one gather, so windows cost no memory until
    they are used. ``starts (M,)`` are the rows at which the *targets* begin. With ``covariates (N, F)`` the inputs
    are ``(B, window, C + F)``, values first. With ``firsts (M,)``, the first row of the series of each window, steps
    before it are padding: NaN.
    """

    def __init__(
        self,
        values: Tensor,
        starts: Tensor,
        window: int,
        horizon: int,
        covariates: Tensor | None = None,
        firsts: Tensor | None = None,
    ) -> None:
        self.values, self.starts, self.window, self.horizon = values, starts, window, horizon
        self.covariates, self.firsts = covariates, firsts
        self._offsets = torch.arange(-window, horizon, device=values.device)

    def __len__(self) -> int:
        return len(self.starts)

    @override
    def batch(self, indices: Tensor) -> Batch:
        rows = self.starts[indices].unsqueeze(1) + self._offsets  # (B, window + horizon)
        padding = None
        if self.firsts is not None:
            firsts = self.firsts[indices].unsqueeze(1)
            padding = (rows[:, : self.window] < firsts).unsqueeze(-1)
            rows = torch.maximum(rows, firsts)
        spans = self.values[rows]  # (B, window + horizon, C)
        inputs = spans[:, : self.window]
        if self.covariates is not None:
            inputs = torch.cat((inputs, self.covariates[rows[:, : self.window]]), dim=-1)
        if padding is not None:
            inputs = inputs.masked_fill(padding, torch.nan)
        return Batch(inputs, spans[:, self.window :])

    @override
    def to(self, device: torch.device) -> WindowSamples:
        covariates, firsts = (None if part is None else part.to(device) for part in (self.covariates, self.firsts))
        values, starts = self.values.to(device), self.starts.to(device)
        return WindowSamples(values, starts, self.window, self.horizon, covariates, firsts)

    @override
    def nbytes(self) -> int:
        tensors = (self.values, self.starts, self.covariates, self.firsts)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @override
    def update_digest(self, digest: hashlib._Hash) -> None:
        digest.update(str((self.window, self.horizon, tuple(self.values.shape))).encode())
        digest.update(tensor_bytes(self.values))
        digest.update(tensor_bytes(self.starts))
        if self.covariates is not None:
            digest.update(str(tuple(self.covariates.shape)).encode())
            digest.update(tensor_bytes(self.covariates))
            digest.update(tensor_bytes(self.covariates))
        if self.firsts is not None:
            digest.update(tensor_bytes(self.firsts))
