"""A few samples of a split, drawn one below the other."""

from __future__ import annotations

import numpy as np

# Samples by the rank of their error among all of the split: neither the best nor the worst is chosen by hand.
EXAMPLES = {"easy": 0.1, "typical": 0.5, "hard": 0.9}
PANEL, PANEL_TITLE = 1.3, 0.46  # inches


def examples(errors: np.ndarray) -> dict[str, int]:
    """Return which samples to show: those at fixed ranks of the error, ``errors (N,)``."""
    order = np.argsort(errors, kind="stable")
    chosen = {title: int(order[round(rank * (len(order) - 1))]) for title, rank in EXAMPLES.items()}
    return {title: index for title, index in chosen.items() if list(chosen.values()).count(index) == 1} or {
        "the only window": int(order[0])
    }
