"""Text samples of the variants of a language model, each from its best run, with the same prompt and seed."""

from __future__ import annotations

from cellstate.errors import CellstateError
from cellstate.metrics.table import rank
from cellstate.plotting.parts import Sample
from cellstate.report.comparison.reading import Comparison
from cellstate.scoring.session import open_checkpoint

LENGTH, TEMPERATURE, SEED = 400, 0.7, 0


def side_by_side(comparison: Comparison) -> list[Sample]:
    """Return a sample of each variant under the first condition; empty if they are not language models."""
    samples = []
    for condition in comparison.conditions[:1]:
        for _, variant in condition.scored:
            scores = variant["scores"]
            best = min(scores, key=lambda repeat: rank(condition.metric, scores[repeat]))
            try:
                model = open_checkpoint(comparison.folder / variant["folders"][best]).model()
            except CellstateError:  # user-defined classes, or a removed file: the page does without the sample
                continue
            if not model.writes_text:
                return []
            text = model.generate(None, LENGTH, temperature=TEMPERATURE, seed=SEED)
            samples.append(Sample(f"{variant['name']}, {condition.metric} {scores[best]:.3f}", text))
    return samples
