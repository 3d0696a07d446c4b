"""Restore global state of the process after a call."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import numpy as np
import torch

# Environment variables that Lightning's seed_everything and Trainer set or remove.
VARIABLES = (
    *("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "CUBLAS_WORKSPACE_CONFIG"),
    *("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "OMP_NUM_THREADS"),
)


@contextmanager
def isolated(seed: int | None = None) -> Iterator[None]:
    """Restore random generators, torch determinism and environment variables afterwards.

    Unlike Lightning's ``isolate_rng``, also after an error.

    Args:
        seed: seed of Python, NumPy and torch inside; None: keep their current state.
    """
    with _random_states(), _determinism(), restored_variables(*VARIABLES):
        if seed is not None:
            L.seed_everything(seed, workers=True, verbose=False)
        yield


@contextmanager
def _random_states() -> Iterator[None]:
    python, legacy = random.getstate(), np.random.get_state()
    initialised = (
        torch.cuda.is_initialized()
    )  # initialising would allocate memory on every GPU; before that there is only a seed
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if initialised else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        if not initialised and torch.cuda.is_available():
            torch.cuda.manual_seed_all(torch.initial_seed())


@contextmanager
def _determinism() -> Iterator[None]:
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


@contextmanager
def restored_variables(*names: str) -> Iterator[None]:
    """Restore environment variables afterwards."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
