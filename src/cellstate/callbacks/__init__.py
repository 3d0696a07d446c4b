"""Callbacks for Lightning's Trainer."""

from cellstate.callbacks.checkpoints import Checkpoints
from cellstate.callbacks.finite_loss import FiniteLoss
from cellstate.callbacks.gradient_norm import GradientNorm
from cellstate.callbacks.history import History
from cellstate.callbacks.progress import Progress
from cellstate.callbacks.watched import Watched
from cellstate.callbacks.weight_averaging import WeightAveraging

__all__ = ["Checkpoints", "FiniteLoss", "GradientNorm", "History", "Progress", "Watched", "WeightAveraging"]
