"""The state of the generators: what is drawn after it was restored is what was drawn after it was taken."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from cellstate.checkpoint import random_state, restore_random_state


def draws() -> list[float]:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.standard_normal(),
        torch.rand(()).item(),
        torch.nn.functional.dropout(torch.ones(64), 0.5).sum().item(),
    ]


def test_every_generator_goes_on_where_it_was_through_a_file_without_pickled_objects() -> None:
    random.gauss(0, 1)  # half of a pair is kept for the next call
    np.random.standard_normal()
    buffer = io.BytesIO()
    torch.save(random_state(), buffer)
    expected = draws()
    assert draws() != expected
    buffer.seek(0)
    restore_random_state(torch.load(buffer, weights_only=True))
    assert draws() == expected
