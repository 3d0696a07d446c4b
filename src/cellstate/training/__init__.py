"""Training: running a config, resuming a run, and printing its results."""
