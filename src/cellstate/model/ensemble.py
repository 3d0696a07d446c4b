"""Deep ensembles: several networks of one kind, trained side by side, whose predictions are averaged.

Lakshminarayanan, Pritzel & Blundell, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
NeurIPS 2017. The members differ in their initial weights and their dropout. They are trained on the same batches, each
with its own loss, so that one run has one checkpoint and one ``predict`` for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cellstate.data.batch import Batch
from cellstate.data.datamodule import SequenceData
from cellstate.errors import UnsupportedError
from cellstate.model.base import SequenceModel


def ensemble_of(build: Callable[[], SequenceModel], size: int) -> SequenceModel:
    """Return a model whose predictions are the average of ``size`` models; for 1, that model itself.

    The result is an instance of the members' class, so that whatever works with one of them works with all.

    Raises:
        UnsupportedError: predictions of this kind of model cannot be averaged.
    """
    first = build()
    if size == 1:
        return first
    kind = type(first)
    if kind.averaged is None:
        raise UnsupportedError(f"a {kind.__name__}, which cannot be averaged; set ensemble=1")
    name = f"{kind.__name__}Ensemble"
    averaging = type(name, (Ensemble, kind), {kind.averaged: averaged(kind.averaged), "__module__": __name__})
    return averaging([first, *(build() for _ in range(size - 1))])


def averaged(name: str) -> Callable[..., Any]:
    """Return a method that averages what the method ``name`` of each member returns."""

    def method(self: Ensemble, *args: Any, **options: Any) -> Any:
        return self.average([getattr(member, name)(*args, **options) for member in self.members])

    return method


class Ensemble(SequenceModel):
    """The part of an ensemble that does not depend on the kind of its members; see ``ensemble_of``.

    Attributes that it does not have itself are those of the first member.
    """

    def __init__(self, members: list[SequenceModel]) -> None:
        first = members[0]
        SequenceModel.__init__(self, first.spec, first._optimizer, first._scheduler)
        self.members: Any = nn.ModuleList(members)
        self.rate_factor = first.rate_factor

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            members = self.__dict__.get("_modules", {}).get("members")
            if members is None:
                raise
            return getattr(members[0], name)

    def fit_closed_form(self, data: SequenceData) -> None:
        """Fit the first member; the others get its buffers, as a closed form is the same for all."""
        first, *others = self.members
        first.fit_closed_form(data)
        fitted = dict(first.named_buffers())
        for member in others:
            for name, buffer in member.named_buffers():
                buffer.copy_(fitted[name])

    def facts(self) -> tuple[str, ...]:
        """Return those of a member, and how many there are."""
        return (
            *self.members[0].facts(),
            f"ensemble of {len(self.members)} networks, predictions averaged",
        )

    @property
    def opened(self) -> SequenceModel:
        """The first member: what happens inside is shown of one network."""
        return self.members[0]

    def training_loss(self, batch: Batch) -> Tensor:
        """Return the mean of the members' own losses."""
        return torch.stack([member.training_loss(batch) for member in self.members]).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the sum of the members' losses, so that each has the gradient that it would have alone."""
        return super().training_step(batch, batch_idx) * len(self.members)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002 (of all members)
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of each member by itself, as if it were trained alone."""
        if not gradient_clip_val:
            return
        for member in self.members:
            if gradient_clip_algorithm == "value":
                nn.utils.clip_grad_value_(member.parameters(), gradient_clip_val)
            else:
                nn.utils.clip_grad_norm_(member.parameters(), gradient_clip_val)
