"""The state of all random number generators as plain values, for checkpoints."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from cellstate.errors import RequestError


def random_state() -> dict[str, Any]:
    """Return the state of the generators of Python, NumPy and torch, the latter on the CPU and on all GPUs."""
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=True)
    name, keys, position, has_gauss, cached = legacy
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set all generators to the result of ``random_state``; missing GPUs are skipped.

    Raises:
        RequestError: the state is invalid.
    """
    try:
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
        torch.set_rng_state(state["torch"])
        for number, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(generator, number)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise RequestError(
            f"the checkpoint's random state cannot be restored ({error}); it was modified: remove it, and the run "
            "starts from scratch"
        ) from error
