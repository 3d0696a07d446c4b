"""Learning-rate schedules. Each is called with the optimiser and the number of steps of the whole run."""

from cellstate.scheduler.plateau import plateau
from cellstate.scheduler.warmup_cosine import warmup_cosine

__all__ = ["plateau", "warmup_cosine"]
