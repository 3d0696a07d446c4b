"""The main metric of a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """The metric that ranks the runs of a model, and its labels on pages and tables.

    Attributes:
        metric: shown first on a page, used to rank a sweep, recorded in the ledger.
        label: its name, with the unit.
        loss_unit: the unit of the training loss.
        further: other metrics with learning curves, each with its label.
    """

    metric: str = "loss"
    label: str = "loss"
    loss_unit: str = "as trained"
    further: tuple[tuple[str, str], ...] = ()
