"""Training: from a config to a result, resuming, and what a run prints."""
