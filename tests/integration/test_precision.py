"""Training in mixed precision: gradients are clipped as asked, weights stay whole, scores come out again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import cellstate
from cellstate.backbone import LSTM
from cellstate.data import PatternData
from cellstate.model import Classifier


class GradientNorms(L.Callback):
    """Writes down the norm of the gradient that every step is taken with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_zero_grad(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:  # noqa: ARG002
        norms = [weight.grad.norm() for weight in pl_module.parameters() if weight.grad is not None]
        if norms:
            self.seen.append(torch.stack(norms).norm().item())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_is_taken_with_a_larger_gradient_than_asked_for(precision: Any) -> None:
    data = PatternData(train_size=128, val_size=32, test_size=32)
    norms = GradientNorms()
    adam = partial(torch.optim.Adam, lr=0.01, fused=True)
    model = Classifier(data.spec, partial(LSTM, hidden_size=8), optimizer=adam)
    trainer = L.Trainer(
        accelerator="cpu", precision=precision, max_epochs=3, gradient_clip_val=0.01, callbacks=[norms], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert norms.seen
    assert max(norms.seen) <= 0.01 * (1 + 1e-4)


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=pattern", "data.train_size=128", "data.val_size=64", "data.test_size=64"],
        ["experiment=series", "trainer.max_steps=4", "trainer.val_check_interval=2"],
        ["experiment=char_lm", "trainer.max_steps=2", "trainer.limit_val_batches=2", "backbone.hidden_size=8"],
    ],
    ids=["pattern", "series", "char_lm"],
)
def test_an_experiment_trains_in_bfloat16_and_keeps_its_weights_in_single_precision(
    words: list[str], tmp_path: Path
) -> None:
    common = ["trainer.max_epochs=1", "trainer.precision=bf16-mixed", "trainer.accelerator=cpu", "report=false"]
    run = cellstate.train([*words, *common, f"hydra.run.dir={tmp_path / 'run'}"])
    assert run.metrics["steps"] >= 2
    assert {weight.dtype for weight in run.model.parameters()} == {torch.float32}
    evaluation = cellstate.evaluate(run.folder)
    if "trainer.limit_val_batches=2" not in words:  # evaluation reads the whole split
        assert evaluation.compared
        assert not evaluation.differing
