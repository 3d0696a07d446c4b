"""Choose example samples of a split."""

from __future__ import annotations

import numpy as np

# Quantiles of the error at which examples are taken, so that none is chosen by hand.
EXAMPLES = {"easy": 0.1, "typical": 0.5, "hard": 0.9}
PANEL, PANEL_TITLE = 1.3, 0.46  # inches


def examples(errors: np.ndarray) -> dict[str, int]:
    """Return the samples to show, by title: those at fixed quantiles of ``errors (N,)``."""
    order = np.argsort(errors, kind="stable")
    chosen = {title: int(order[round(rank * (len(order) - 1))]) for title, rank in EXAMPLES.items()}
    return {title: index for title, index in chosen.items() if list(chosen.values()).count(index) == 1} or {
        "the only window": int(order[0])
    }
