"""References of a split, its ledger entry, and the names of its metrics."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from cellstate import checkpoint
from cellstate.checkpoint.weights import weights_digest
from cellstate.config.check import debugged
from cellstate.data import SequenceData
from cellstate.model import SequenceModel
from cellstate.runs.ledger import Look, source_of


def references(data: SequenceData, model: SequenceModel) -> dict[str, dict[str, float]]:
    """Return metric -> predictor -> score of optimum and baselines on the reported split."""
    return {**data.reference_table(), **model.references(data)}


def look(
    command: str,
    content: Mapping[str, Any] | None,
    path: Path | None,
    model: SequenceModel,
    data: SequenceData,
    metrics: Mapping[str, float],
) -> Look:
    """Return the ledger entry of an evaluation by ``command`` on the test split of ``data``.

    ``content`` is the checkpoint read from ``path``; None for a model in memory, without known experiment and seed.
    """
    config = {} if content is None else content[checkpoint.KEY]["config"]
    return Look(
        command=f"{command} debug={preset}" if (preset := debugged(config)) else command,
        experiment=config.get("experiment", ""),
        seed=config.get("seed", ""),
        checkpoint="" if path is None else str(path),
        weights=weights_digest(model.state_dict() if content is None else content["state_dict"]),
        source=source_of(data),
        fingerprint=data.fingerprint,
        metric=model.headline.metric,
        metrics=metrics,
    )


@torch.no_grad()
def metrics_of(model: SequenceModel, data: SequenceData, wanted: Collection[str] = ()) -> set[str]:
    """Return the metrics of the validation split, such as ``val/loss``, by scoring a copy of an untrained model on it.

    One batch is enough, except for metrics that need samples of several classes: if one of ``wanted`` is missing, the
    entire split is scored.
    """
    untrained: Any = copy.deepcopy(model).eval()
    scores = untrained.new_scores()
    for place, batch in enumerate(data.loader("val")):
        untrained.update_scores(scores, untrained.compute_output(batch), batch)
        if place == 0 and set(wanted) <= (known := _names(scores, data)):
            return known
    return _names(scores, data)


def _names(scores: Any, data: SequenceData) -> set[str]:
    return {f"val/{name}" for name in {**scores.compute(), **data.panel_scores("val", scores)}}
