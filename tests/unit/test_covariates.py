"""Covariates: where they stand in a window, that the future stays hidden unless known, and what they are worth."""

from datetime import datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch

from cellstate.backbone import GRU
from cellstate.data.files.series import SeriesData
from cellstate.errors import RequestError
from cellstate.model import Forecaster

WINDOW, HORIZON, ROWS = 8, 3, 150


def saved(folder, *, series=("one",), **columns):
    parts = []
    for number, name in enumerate(series):
        draw = np.random.default_rng(number)
        frame = pl.DataFrame({
            "id": [name] * ROWS,
            "day": [datetime(2024, 1, 1) + timedelta(days=day) for day in range(ROWS)],
            "y": draw.normal(size=ROWS) + 100 * number,
            "rain": draw.normal(5, 3, size=ROWS),
            "price": draw.normal(-2, 0.1, size=ROWS),
            "plan": draw.normal(1e3, 50, size=ROWS),
            "open": draw.random(ROWS) < 0.7,
        })  # fmt: skip
        parts.append(frame.with_columns(**columns))
    path = folder / "series.csv"
    frame = pl.concat(parts)
    frame.write_csv(path)
    return str(path), frame


def covariate_data(path, **options):
    options = {"past": ["rain", "price"], "known": ["plan", "open"], **options}
    return SeriesData(path=path, target="y", window=WINDOW, horizon=HORIZON, batch_size=16, short="error", **options)


@pytest.mark.parametrize("series", [("one",), ("a", "b", "c")])
def test_a_step_shows_the_past_as_it_is_and_what_is_known_a_horizon_ahead(tmp_path, series):
    path, frame = saved(tmp_path, series=series)
    data = covariate_data(path, id="id" if len(series) > 1 else None)
    spec = data.spec
    assert (spec.input_size, spec.past, spec.known) == (5, ("rain", "price"), ("plan", "open"))
    border = data.windows.borders[0]
    columns = frame.select("rain", "price", "plan", pl.col("open").cast(pl.Float64)).to_numpy().reshape(-1, ROWS, 4)
    training = columns[:, : border[1]].reshape(-1, 4)
    np.testing.assert_allclose(spec.input_mean[1:], training.mean(axis=0))
    np.testing.assert_allclose(spec.input_std[1:], training.std(axis=0))
    scaled = (columns - training.mean(axis=0)) / training.std(axis=0)
    for at, samples in enumerate(data.prepared.splits.values()):
        inputs = samples.batch(torch.arange(len(samples))).inputs[..., 1:].numpy()
        expected = []
        for own in scaled:
            for start in range(max(border[at], WINDOW), border[at + 1] - HORIZON + 1):
                seen = own[start - WINDOW : start, :2]
                ahead = own[start - WINDOW + HORIZON : start + HORIZON, 2:]
                expected.append(np.hstack([seen, ahead]))
        np.testing.assert_allclose(inputs, expected, atol=1e-4)


def test_no_step_shows_anything_past_the_end_of_its_split_but_the_training_rows_show_no_validation(tmp_path):
    path, _ = saved(tmp_path)
    data = covariate_data(path)
    border = data.windows.borders[0][1]
    row = np.arange(ROWS)
    changed, _ = saved(
        tmp_path,
        **{
            name: pl.when(pl.Series(row < border)).then(pl.col(name)).otherwise(1e6)
            for name in ("rain", "price", "plan")
        },
    )
    other = covariate_data(changed)
    assert other.spec == data.spec
    every = torch.arange(len(data.prepared.splits["train"]))
    one, two = (each.prepared.splits["train"].batch(every).inputs for each in (data, other))
    assert torch.equal(one, two)


def test_the_past_of_a_past_covariate_is_all_that_is_seen(tmp_path):
    path, _ = saved(tmp_path)
    data = covariate_data(path)
    start = data.windows.borders[0][2] + 5
    row = np.arange(ROWS)
    later = pl.when(pl.Series(row < start)).then(pl.col("rain")).otherwise(-50)
    changed, _ = saved(tmp_path, rain=later)
    one, two = (
        each.prepared.splits["test"].batch(torch.tensor([5])).inputs for each in (data, covariate_data(changed))
    )
    assert torch.equal(one, two)


def test_the_calendar_is_known_ahead(tmp_path):
    path, _ = saved(tmp_path)
    spec = covariate_data(path, past=None, known="plan", calendar=True).spec
    assert spec.known == ("plan", "weekday_sin", "weekday_cos", "year_sin", "year_cos")
    samples = covariate_data(path, past=None, known=None, calendar=True).prepared.splits["test"]
    batch = samples.batch(torch.tensor([0]))
    data = covariate_data(path, past=None, known=None, calendar=True)
    ahead = batch.inputs[0, -HORIZON:, 1:].double().numpy() * data.spec.input_std[1:] + data.spec.input_mean[1:]
    first = int(data.windows.borders[0][2])
    weekdays = [(datetime(2024, 1, 1) + timedelta(days=first + step)).weekday() for step in range(HORIZON)]
    np.testing.assert_allclose(ahead[:, 0], np.sin(2 * np.pi * np.array(weekdays) / 7), atol=1e-5)


def test_what_covariates_need_is_asked_for(tmp_path):
    path, _ = saved(tmp_path)
    with pytest.raises(RequestError, match=r"data.window=2 is shorter than data.horizon=3.*set data.window=3"):
        _ = SeriesData(path=path, target="y", known="plan", window=2, horizon=3).prepared
    data = SeriesData(path=path, target="y", known="plan", horizon=14, split=(0.4, 0.3, 0.3), batch_size=1)
    assert data.spec.window == 14  # as long as the horizon, although a fifth of 60 rows are fewer
    with pytest.raises(RequestError, match=r"no column 'pland' for data\.known; did you mean 'plan'"):
        _ = covariate_data(path, known="pland").prepared
    with pytest.raises(RequestError, match=r"column 'plan' is in both data\.past and data\.known"):
        _ = covariate_data(path, past="plan", known="plan").prepared
    with pytest.raises(RequestError, match=r"column 'id' contains 'one', which is not a number.*another data.past"):
        _ = covariate_data(path, past="id").prepared
    pl.read_csv(path).drop("day").write_csv(tmp_path / "timeless.csv")
    with pytest.raises(RequestError, match=r"data\.calendar=true needs a time column"):
        _ = covariate_data(str(tmp_path / "timeless.csv"), calendar=True).prepared


def test_a_covariate_that_never_changes_is_told(tmp_path):
    path, _ = saved(tmp_path, price=pl.lit(3.5))
    data = covariate_data(path)
    assert any(fact.startswith("price: constant over all training rows") for fact in data.prepared.facts)
    assert torch.isfinite(data.prepared.splits["test"].batch(torch.arange(4)).inputs).all()


# ---------------------------------------------------------------------- models


def fitted(data, steps=200):
    torch.manual_seed(0)
    model = Forecaster(data.spec, partial(GRU, hidden_size=16), normalisation="none", segment=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    samples = data.prepared.splits["train"]
    every = samples.batch(torch.arange(len(samples)))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1 - step / steps)
        optimizer.zero_grad()
        loss = model.loss(model(every.inputs), every)
        loss.backward()
        optimizer.step()
    return model


def test_a_plan_that_makes_the_target_is_worth_all_and_without_it_nothing_can_be_forecast(tmp_path):
    # The target is white noise that the plan repeats: without it no forecast beats the mean, E|N(0, 1)| = 0.798.
    path, _ = saved(tmp_path, series=("a", "b"), y=pl.col("plan") * 0.02)
    errors = {}
    for known in ("plan", None):
        data = covariate_data(path, id="id", past="rain", known=known)
        test = data.prepared.splits["test"]
        batch = test.batch(torch.arange(len(test)))
        model = fitted(data)
        with torch.no_grad():
            errors[known] = (model(batch.inputs) - batch.targets).abs().mean().item()
    assert errors["plan"] < 0.2
    assert errors[None] > 0.7


@pytest.mark.parametrize("normalisation", ["last", "mean_std", "none"])
def test_predicting_from_columns_as_they_stand_in_the_file_is_what_the_windows_give(tmp_path, normalisation):
    path, frame = saved(tmp_path, series=("a", "b"))
    data = covariate_data(path, id="id")
    model = Forecaster(data.spec, partial(GRU, hidden_size=8), normalisation=normalisation).eval()
    table = (
        frame.filter(pl.col("id") == "b").select("y", "rain", "price", "plan", pl.col("open").cast(float)).to_numpy()
    )
    samples = data.prepared.splits["test"]
    index = int(np.flatnonzero(data.windows.owners("test") == 1)[4])
    start = int(data.windows.rows("test")[index])
    with torch.no_grad():
        scaled = model(samples.batch(torch.tensor([index])).inputs)[0, :, 0].double().numpy()
    expected = scaled * data.spec.std[0] + data.spec.mean[0]
    ahead = table[start : start + HORIZON, 3:]
    found = model.predict(table[:start], known=ahead)
    assert found.shape == (HORIZON, 1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    several = model.predict(np.stack([table[start - WINDOW : start]] * 2), known=np.stack([ahead] * 2))
    np.testing.assert_allclose(several[..., 0], np.stack([expected] * 2), rtol=1e-5)


def test_predicting_says_what_it_must_be_given(tmp_path):
    path, _ = saved(tmp_path)
    data = covariate_data(path)
    model = Forecaster(data.spec, partial(GRU, hidden_size=8))
    history, ahead = np.zeros((WINDOW, 5)), np.zeros((HORIZON, 2))
    with pytest.raises(RequestError, match=r"known in advance \(plan, open\).*known=VALUES\) of shape \(3, 2\)"):
        model.predict(history)
    with pytest.raises(RequestError, match=r"known of shape \(2, 2\) does not match: give plan, open as \(1, 3, 2\)"):
        model.predict(history, known=ahead[:2])
    with pytest.raises(RequestError, match=r"\(steps, 5\)"):
        model.predict(history[:, :1], known=ahead)
    plain = Forecaster(covariate_data(path, past=None, known=None).spec, partial(GRU, hidden_size=8))
    with pytest.raises(RequestError, match="without columns known in advance"):
        plain.predict(history[:, 0], known=ahead)


def test_the_level_of_a_series_never_seen_moves_its_forecast_along(tmp_path):
    path, _ = saved(tmp_path, series=("a", "b"))
    data = covariate_data(path, id="id", past=None, known=None)
    model = Forecaster(data.spec, partial(GRU, hidden_size=8), normalisation="last")
    history = np.random.default_rng(9).normal(size=WINDOW)
    np.testing.assert_allclose(model.predict(history + 512), model.predict(history) + 512, rtol=1e-5)
