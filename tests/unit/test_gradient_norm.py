"""The norm of the gradient is the one that autograd gives, taken before it is clipped, and only where it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cellstate.callbacks import GradientNorm
from cellstate.config.compose import compose
from cellstate.training.build import build_trainer
from cellstate.training.settings import Settings

STEPS, ASKED = 6, 2


class Line(L.LightningModule):
    """``y = w x``, whose gradient is known by hand: ``2 x (w x - y)``."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.slope.weight, 3.0)
        self.expected: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:  # noqa: ARG002
        x, y = batch
        self.expected.append(abs(float((2 * x * (self.slope.weight.detach() * x - y)).mean())))
        return ((self.slope(x) - y) ** 2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Kept(CSVLogger):
    """Keeps what it is given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        assert step is not None
        self.rows.append((step, dict(metrics)))


def test_norms_are_those_of_the_gradient_before_it_is_clipped(tmp_path: Path) -> None:
    data = DataLoader(TensorDataset(torch.arange(1.0, STEPS + 1)[:, None], torch.zeros(STEPS, 1)))
    model, logger = Line(), Kept(tmp_path)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", gradient_clip_val=0.001, callbacks=[GradientNorm(ASKED)], logger=logger,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, data, data)
    found = [(step, row) for step, row in logger.rows if "gradient_norm" in row]
    assert [step for step, _ in found] == [1, 3, 5]
    for step, row in found:
        torch.testing.assert_close(row["gradient_norm"], model.expected[step - 1])
        assert row["gradient_norm/slope"] == row["gradient_norm"]


def test_without_a_logger_no_norm_is_taken(tmp_path: Path) -> None:
    def has_norms(*words: str) -> bool:
        config, _ = compose("train", list(words))
        trainer: Any = build_trainer(Settings.of(config), tmp_path, [])
        return any(isinstance(callback, GradientNorm) for callback in trainer.callbacks)

    assert not has_norms()
    assert has_norms("logger=csv")
    assert not has_norms("logger=csv", "callbacks.gradient_norm=null")
