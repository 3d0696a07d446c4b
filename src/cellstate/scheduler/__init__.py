"""Learning rate schedules, called with the optimiser and the total number of steps."""

from cellstate.scheduler.plateau import plateau
from cellstate.scheduler.warmup_cosine import warmup_cosine

__all__ = ["plateau", "warmup_cosine"]
