"""Schedules, held against their formulas."""

import math
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch

from cellstate.backbone import GRU
from cellstate.data.synthetic.pattern import PatternData
from cellstate.errors import RequestError
from cellstate.model import Classifier
from cellstate.scheduler import plateau, warmup_cosine

PEAK = 0.01


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)


def factors(steps, **options):
    """The rates of optimiser steps 0 to ``steps``, over the peak."""
    chosen = optimizer()
    found = warmup_cosine(chosen, steps, **options)
    assert found["interval"] == "step"
    rates = []
    for _ in range(steps + 1):
        rates.append(chosen.param_groups[0]["lr"] / PEAK)
        chosen.step()
        found["scheduler"].step()
    return np.array(rates)


@pytest.mark.parametrize(
    ("steps", "warmup", "final"), [(1000, 0.05, 0.01), (200, 0.5, 0.0), (40, 0.0, 0.1), (7, 0.3, 1.0), (1000, 1e-6, 0)]
)
def test_warm_up_is_a_line_and_then_half_a_cosine_falls(steps, warmup, final):
    rates = factors(steps, warmup=warmup, final=final)
    warm = max(1, round(warmup * steps)) if warmup else 0
    np.testing.assert_allclose(rates[:warm], np.arange(1, warm + 1) / max(warm, 1))
    progress = np.arange(steps - warm + 1) / (steps - warm)
    np.testing.assert_allclose(rates[warm:], final + (1 - final) * 0.5 * (1 + np.cos(math.pi * progress)), atol=1e-12)
    assert rates[warm] == pytest.approx(1)
    assert rates.max() == pytest.approx(1)
    assert rates[-1] == pytest.approx(final)
    middle = warm + (steps - warm) // 2
    if (steps - warm) % 2 == 0:
        assert rates[middle] == pytest.approx((1 + final) / 2)
    assert (np.diff(rates[warm:]) <= 1e-15).all()


def test_no_step_of_a_run_has_a_rate_of_zero():
    assert factors(100, warmup=0.1, final=0)[:-1].min() > 0


def test_after_the_last_step_the_rate_stays_at_its_end():
    chosen = optimizer()
    found = warmup_cosine(chosen, 10, final=0.2)
    for _ in range(25):
        chosen.step()
        found["scheduler"].step()
    assert chosen.param_groups[0]["lr"] == pytest.approx(0.2 * PEAK)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
def test_the_shortest_runs_have_a_schedule(steps, warmup):
    rates = factors(steps, warmup=warmup)
    assert np.isfinite(rates).all()
    assert 0 < rates.max() <= 1


def test_a_run_without_an_end_has_no_cosine():
    with pytest.raises(RequestError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        warmup_cosine(optimizer(), math.inf)


def test_the_plateau_lowers_the_rate_after_its_patience_and_then_waits_again():
    chosen = optimizer()
    found = plateau(chosen, 100, factor=0.5, patience=2)
    assert found["monitor"] == "val/loss"
    rates = []
    for loss in [3.0, 2.0, 1.0, 1.0, 1.1, 1.2, 1.3, 1.0, 1.0, 0.5, 0.5]:
        found["scheduler"].step(loss)
        rates.append(chosen.param_groups[0]["lr"] / PEAK)
    # No fall in epochs 4, 5 and 6: more than two. Then again in 7, 8 and 9; the fall in 10 begins a new count.
    assert rates == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


class Rates(L.Callback):
    """Writes down the learning rate that every step is taken with."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # noqa: ARG002
        self.seen.append(optimizer.param_groups[0]["lr"])


def fitted(schedule, **options):
    data = PatternData(train_size=70, val_size=20, test_size=20, batch_size=16)
    rates = Rates()
    model = Classifier(
        data.spec, partial(GRU, hidden_size=2), optimizer=partial(torch.optim.SGD, lr=PEAK), scheduler=schedule
    )
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[rates],
        **options,
    )
    trainer.fit(model, datamodule=data)
    return np.array(rates.seen) / PEAK


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 4}, 20),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, 12),
        ({"max_epochs": 4, "max_steps": 9}, 9),
        ({"max_epochs": 4, "limit_train_batches": 3}, 12),
    ],
)
def test_a_run_goes_through_the_whole_schedule_once(options, steps):
    seen = fitted(partial(warmup_cosine, warmup=0.25, final=0.0), **options)
    np.testing.assert_allclose(seen, factors(steps, warmup=0.25, final=0.0)[:-1])


def test_a_run_that_only_time_ends_takes_a_plateau():
    def stop_after_two(optimizer, total_steps):
        assert math.isinf(total_steps)
        return plateau(optimizer, total_steps)

    seen = fitted(stop_after_two, max_epochs=-1, max_time={"seconds": 0})
    assert (seen == 1).all()
