"""What is declared of a metric holds wherever it is used: checkpoints, early stopping, schedules, searches."""

import math

import pytest
import torch

from cellstate.callbacks import Checkpoints
from cellstate.callbacks.monitors import check_monitors, with_mode
from cellstate.errors import RequestError
from cellstate.metrics import table
from cellstate.metrics.display import shown_metrics
from cellstate.metrics.table import Metric, metric_of, rank, register
from cellstate.scheduler import plateau
from cellstate.sweep.search.settings import natural

STOPPING = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/accuracy", "mode": None}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("accuracy", [0.9, 0.8, 0.2]),
        ("val/auroc", [1.0, 0.5]),
        ("mae", [0.1, 2.0, math.inf]),
        ("coverage_80", [0.8, 0.85, 0.7, 1.0, 0.0]),  # an interval that is too wide is as wrong as one too narrow
        ("of_my_own", [-1.0, 3.0]),
    ],
)
def test_better_values_rank_first_and_nan_last(name, values):
    assert sorted([*values, math.nan], key=lambda value: rank(name, value))[:-1] == values
    assert rank(name, None) == rank(name, math.nan) == math.inf


def test_a_metric_of_ones_own_is_declared_once(monkeypatch):
    monkeypatch.setattr(table, "_TABLE", dict(table._TABLE))
    register(Metric("mcc", "Matthews correlation; higher is better", "higher"))
    assert metric_of("val/mcc").mode == "max"
    assert natural("val/mcc") == "maximize"
    assert with_mode({**STOPPING, "monitor": "val/mcc"})["mode"] == "max"


@pytest.mark.parametrize(("monitor", "better", "worse"), [("val/accuracy", 0.9, 0.8), ("val/loss", 0.8, 0.9)])
def test_the_checkpoint_is_kept_that_the_metric_calls_better(tmp_path, monitor, better, worse):
    keeper = Checkpoints(tmp_path, {}, monitor=monitor)
    assert keeper.improves(worse)
    assert not keeper.improves(math.nan)
    keeper.best = {"epoch": 0, "step": 1, "monitor": monitor, "value": worse}
    assert keeper.improves(better)
    assert not keeper.improves(worse), "of equal ones the first is kept"
    keeper.best["value"] = better
    assert not keeper.improves(worse)


@pytest.mark.parametrize(("monitor", "rising"), [("val/accuracy", True), ("val/loss", False)])
def test_a_schedule_waits_for_the_better_direction(monitor, rising):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = plateau(optimizer, 10, patience=0, factor=0.5, monitor=monitor)["scheduler"]
    for value in (0.1, 0.2, 0.3):
        schedule.step(value)
    assert optimizer.param_groups[0]["lr"] == (1.0 if rising else 0.25)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({**STOPPING, "mode": "min"}, "callbacks.x.mode=min: higher is better for val/accuracy"),
        (
            {**STOPPING, "monitor": "val/acuracy"},
            "callbacks.x.monitor=val/acuracy: unknown metric; did you mean",
        ),
        ({**STOPPING, "monitor": "val/coverage_80"}, "closer to 0.8 is better"),
    ],
)
def test_a_wrong_monitor_is_one_line(values, problem):
    with pytest.raises(RequestError) as caught:
        check_monitors({"callbacks.x": values}, {"val/loss", "val/accuracy", "val/coverage_80"})
    (line,) = caught.value.problems
    assert problem in line


def test_a_right_monitor_is_none():
    check_monitors(
        {"callbacks.x": STOPPING, "checkpoint": {"monitor": "val/coverage_80"}}, {"val/accuracy", "val/coverage_80"}
    )


def test_the_screen_shows_a_panel_as_the_m4_competition_does():
    one = dict.fromkeys(("loss", "mae", "rmse", "mse", "smape", "mae_scaled", "mse_scaled", "mase", "owa"), 1.0)
    assert shown_metrics(one) == ["mae", "rmse", "mae_scaled", "mse_scaled", "mase", "owa"]
    assert shown_metrics({**one, "mase_pooled": 1.0}) == ["mae", "rmse", "smape", "mase", "owa"]
