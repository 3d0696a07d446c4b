"""Scores do not depend on how a split is cut into batches, nor on how wide its sequences are padded."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from tests.conftest import every_third, slow
from tests.rounding import rounding
from torch import Tensor

import cellstate as package
from cellstate.data import SequenceData
from cellstate.data.batch import Batch
from cellstate.metrics.tokens import IGNORED

SMALL = ("trainer.max_steps=12", "backbone.hidden_size=8", "report=false")
SYNTHETIC = ("data.train_size=200", "data.val_size=101", "data.test_size=101")
TASKS = {
    "pattern": SYNTHETIC,
    "pattern_bilstm": SYNTHETIC,
    "temporal_order": SYNTHETIC,
    "adding": (*SYNTHETIC, "data.length=30"),
    "series": (),
    "seasonal": ("trainer.check_val_every_n_epoch=1",),
    "next_state": (),
    "embedded_reber": SYNTHETIC,
    "char_lm": ("data.steps=16", "trainer.limit_val_batches=3"),
    "labelled": (),
}
PADDED = [name for name in TASKS if name not in ("series", "seasonal", "char_lm")]  # of the others every step counts
ROUNDING = rounding(100 * (1 + 8))  # of a hundred steps, one input and eight units
COUNTED = ("accuracy", "f1")  # of whole numbers of samples


@pytest.fixture(scope="module", params=every_third(list(TASKS), 0))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> package.Run:
    """A run of a few steps."""
    folder = tmp_path_factory.mktemp("run") / request.param
    return package.train([f"experiment={request.param}", *SMALL, *TASKS[request.param], f"hydra.run.dir={folder}"])


def assert_same(metrics: dict[str, dict[str, float]], expected: dict[str, dict[str, float]]) -> None:
    for split, values in metrics.items():
        for name, value in values.items():
            if name in COUNTED:
                assert value == expected[split][name], (split, name)
            else:
                assert value == pytest.approx(expected[split][name], rel=ROUNDING, abs=ROUNDING), (split, name)


def test_scores_are_the_same_for_every_batch_size(trained: package.Run) -> None:
    expected = {split: trained.metrics[split] for split in ("val", "test") if trained.metrics[split]}
    for size in (1, 7, 64):
        assert_same(package.evaluate(trained.checkpoint, {"batch_size": size}).metrics, expected)


def wider(batch: Batch, extra: int) -> Batch:
    """Return a batch whose rows are padded by more steps, which hold what no data would."""

    def pad(values: Tensor, filler: Any) -> Tensor:
        return torch.cat((values, values.new_full((values.shape[0], extra, *values.shape[2:]), filler)), 1)

    inputs, targets, lengths, reset = batch
    if lengths is None:
        lengths = torch.full((len(inputs),), inputs.shape[1])
    if targets.ndim == inputs.ndim and targets.shape[1] == inputs.shape[1] and not targets.is_floating_point():
        targets = pad(targets, IGNORED)
    return Batch(pad(inputs, 0 if not inputs.is_floating_point() else 1e6), targets, lengths, reset)


@pytest.mark.parametrize("trained", every_third(PADDED, 0), indirect=True)
@pytest.mark.parametrize("extra", [1, 13])
def test_scores_are_the_same_for_every_padding(
    trained: package.Run, extra: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident, widths = SequenceData.resident, []

    def padded(self: SequenceData, split: str) -> Any:
        samples = resident(self, split)
        original = samples.batch

        def batch(indices: Tensor) -> Batch:
            widths.append(extra)
            return wider(original(indices), extra)

        monkeypatch.setattr(samples, "batch", batch)
        return samples

    monkeypatch.setattr(SequenceData, "resident", padded)
    expected = {split: trained.metrics[split] for split in ("val", "test") if trained.metrics[split]}
    assert_same(package.evaluate(trained.checkpoint).metrics, expected)
    assert widths, "nothing was padded"


@pytest.mark.skipif(sys.platform == "win32", reason="processes share a session, which is POSIX")
@pytest.mark.parametrize(
    ("trained", "devices"),
    [("char_lm", 2), *slow(("pattern", 2), ("pattern", 3), ("embedded_reber", 3), ("series", 3), ("labelled", 2))],
    indirect=["trained"],
)
def test_scores_are_the_same_on_several_processes(trained: package.Run, devices: int) -> None:
    expected = {split: trained.metrics[split] for split in ("val", "test") if trained.metrics[split]}
    found = package.evaluate(trained.checkpoint, devices=devices)
    assert found.overridden["devices"] == (1, devices)
    assert_same(found.metrics, expected)
