"""Means over seeds and their intervals, against tables and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from cellstate.metrics.statistics import student_probability, student_quantile, summarise
from cellstate.sweep.results import groups, new_row

# Two-sided 95 % points of Student's t as textbooks print them (Fisher & Yates 1963, table III).
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 29: 2.045, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize(("degrees", "t"), TABLE.items())
def test_quantiles_are_those_of_the_tables(degrees: int, t: float) -> None:
    assert round(student_quantile(degrees), 3) == pytest.approx(t, abs=1e-9)


def test_quantiles_approach_those_of_the_normal_distribution() -> None:
    assert student_quantile(100_000) == pytest.approx(1.959964, abs=1e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 6, 7, 20])
def test_probabilities_are_the_integral_of_the_density(degrees: int) -> None:
    # The density up to its constant, which follows from the integral over all t = tan(u).
    u = np.linspace(-np.pi / 2, np.pi / 2, 400_001)[1:-1]
    t = np.tan(u)
    weights = (1 + t**2 / degrees) ** (-(degrees + 1) / 2) * (1 + t**2)
    for bound in (0.3, 1.0, 2.5):
        share = weights[np.abs(t) < bound].sum() / weights.sum()
        assert student_probability(bound, degrees) == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("n", [2, 5])
def test_of_a_hundred_intervals_ninety_five_hold_the_mean(n: int) -> None:
    draws = np.random.default_rng(0).normal(loc=3.0, scale=2.0, size=(10_000, n))
    summaries = [summarise(row.tolist()) for row in draws]
    held = np.mean([one["low"] < 3.0 < one["high"] for one in summaries])  # type: ignore[operator]
    assert held == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / len(draws)))


def test_mean_and_deviation_are_those_of_numpy() -> None:
    values = [0.91, 0.87, 0.95, 0.9]
    summary = summarise(values)
    assert summary["mean"] == pytest.approx(np.mean(values))
    assert summary["std"] == pytest.approx(np.std(values, ddof=1))
    assert summary["n"] == 4


def test_one_value_has_no_interval() -> None:
    assert summarise([0.5]) == {"mean": 0.5, "std": None, "low": None, "high": None, "n": 1}


# ---------------------------------------------------------------------- groups


def row(group: str, seed: int, loss: float | None) -> dict:
    job = {"folder": f"{group}{seed}", "key": f"{group}{seed}", "group": group, "words": [], "repeat": {"seed": seed}}
    done = {"status": "completed", "val": {"loss": loss}, "parameters": 7} if loss is not None else {"status": "failed"}
    return {**new_row({**job, "overrides": {"backbone": group, "seed": seed}}), **done}


def test_a_group_holds_the_seeds_of_one_config_and_says_which_it_lacks() -> None:
    rows = [row("gru", 0, 1.0), row("lstm", 0, 5.0), row("gru", 1, 3.0), row("lstm", 1, None), row("gru", 2, 2.0)]
    gru, lstm = groups(rows)
    assert gru["overrides"] == {"backbone": "gru"}
    assert (gru["n"], gru["missing"], gru["parameters"]) == (3, [], 7)
    assert (gru["val"]["loss"]["mean"], gru["val"]["loss"]["std"]) == (2.0, 1.0)
    # 1 seed of 3: one failed, one was never asked for
    assert (lstm["n"], lstm["missing"]) == (1, [{"seed": 1}, {"seed": 2}])
    assert lstm["val"]["loss"]["mean"] == 5.0


def test_a_score_that_is_no_number_is_left_out_of_the_mean() -> None:
    (group,) = groups([row("gru", 0, 1.0), row("gru", 1, 3.0), {**row("gru", 2, 0.0), "val": {"loss": None}}])
    assert (group["n"], group["val"]["loss"]["n"], group["val"]["loss"]["mean"]) == (3, 2, 2.0)
