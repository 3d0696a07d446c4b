"""Training losses of values, by config name."""

from __future__ import annotations

from torch import nn

LOSSES = {"mae": nn.functional.l1_loss, "mse": nn.functional.mse_loss, "huber": nn.functional.smooth_l1_loss}
