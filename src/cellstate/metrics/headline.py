"""What a kind of model is judged by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """The metric that ranks runs of a kind of model, and how pages and tables speak of it.

    Attributes:
        metric: the one that a page shows first, a sweep ranks by and the ledger names.
        label: what it is, with its unit.
        loss_unit: the unit of the training loss.
        further: more metrics whose learning curves are drawn, each with its label.
    """

    metric: str = "loss"
    label: str = "loss"
    loss_unit: str = "as trained"
    further: tuple[tuple[str, str], ...] = ()
