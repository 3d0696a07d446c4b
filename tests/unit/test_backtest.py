"""Rolling-origin backtests: what each forecast may know, and that every window of a split gives the split's scores."""

from functools import partial

import numpy as np
import pytest
import torch

import cellstate
from cellstate.backbone import GRU
from cellstate.data import SeasonalData
from cellstate.data.batch import DataSpec
from cellstate.errors import RequestError
from cellstate.model import Classifier, Forecaster
from cellstate.model.forecasting.backtest import roll, strided

TWO = DataSpec(input_size=2, targets=("v", "w"), window=12, horizon=5, mean=(50.0, -3.0), std=(4.0, 0.2))
HEADS = ("point", "quantile", "gaussian")
SMALL = (
    *("experiment=seasonal", "data.length=300", "backbone.hidden_size=8", "trainer.max_epochs=1"),
    *("trainer.check_val_every_n_epoch=1", "report=false"),
)


def forecaster(spec=TWO, **options):
    torch.manual_seed(0)
    return Forecaster(spec, partial(GRU, hidden_size=8), **options).eval()


def series(rows=60):
    return np.random.default_rng(0).normal(size=(rows, 2)) * [4.0, 0.2] + [50.0, -3.0]


@pytest.fixture(scope="module", params=HEADS)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return cellstate.train([*SMALL, f"model.head={request.param}", f"hydra.run.dir={folder}"])


def test_stride_1_gives_the_scores_of_the_test_split_to_the_last_bit(run):
    found = cellstate.backtest(run.checkpoint, stride=1)
    assert found.scores == run.metrics["test"]
    assert len(found.origins) == len(run.data.prepared.splits["test"])
    assert cellstate.backtest(run.model, run.data, stride=1).scores == found.scores


def test_the_scores_of_all_steps_are_the_mean_of_those_of_each(run):
    found = cellstate.backtest(run.checkpoint, stride=3)
    assert len(found.by_step) == 10
    for metric in ("mae", "mse", "loss", *(run.model.kind.metrics)):
        of_steps = [scores[metric] for scores in found.by_step]
        assert np.mean(of_steps) == pytest.approx(found.scores[metric], rel=1e-6), metric
    error = np.abs(found.forecasts - found.truth)
    assert found.by_step[7]["mae"] == pytest.approx(error[:, 7].mean())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("normalisation", ["last", "mean", "mean_std", "none"])
def test_the_future_of_an_origin_changes_nothing_of_its_forecast(head, normalisation):
    model, values = forecaster(head=head, normalisation=normalisation), series()
    before = roll(model, values, stride=1)
    changed = values.copy()
    changed[30:] = 1e4 * np.random.default_rng(1).normal(size=changed[30:].shape)
    after = roll(model, changed, stride=1)
    known = before.origins < 30
    assert known.sum() == 30 - 11
    np.testing.assert_array_equal(after.forecasts[known], before.forecasts[known])
    assert (after.forecasts[~known] != before.forecasts[~known]).any(axis=(1, 2)).all()
    if head != "point":
        np.testing.assert_array_equal(after.quantiles[known], before.quantiles[known])


@pytest.mark.parametrize("head", HEADS)
def test_each_forecast_is_what_the_model_predicts_from_the_rows_up_to_its_origin(head):
    model, values = forecaster(head=head), series()
    found = roll(model, values, stride=7)
    assert found.origins.tolist() == [11, 18, 25, 32, 39, 46, 53]
    for place, origin in enumerate(found.origins):
        history = values[: origin + 1]
        np.testing.assert_allclose(found.forecasts[place], model.predict(history), rtol=1e-5)
        np.testing.assert_allclose(found.truth[place], values[origin + 1 : origin + 6], rtol=1e-6)
        if head != "point":
            np.testing.assert_allclose(found.quantiles[place], model.predict_quantiles(history), rtol=1e-5)


def test_by_default_each_row_is_forecast_once():
    data = SeasonalData(length=300, seed=1)
    found = roll(forecaster(data.spec), data)
    rows = (found.origins[:, None] + np.arange(1, 11)).ravel()
    assert rows.tolist() == list(range(240, 300))
    np.testing.assert_allclose(found.truth.ravel(), data.whole_series.values[rows, 0], atol=1e-5)


def test_the_table_has_a_row_for_each_origin_step_and_target():
    model, values = forecaster(head="quantile", quantiles=(0.1, 0.5, 0.9)), series(40)
    found = roll(model, values, stride=4)
    table = found.table()
    assert table.columns == ["origin", "step", "target", "truth", "forecast", "q0.1", "q0.5", "q0.9"]
    assert table.height == len(found.origins) * 5 * 2
    for row in table.rows(named=True)[::7]:
        column = "vw".index(row["target"])
        place = found.origins.tolist().index(row["origin"])
        assert row["truth"] == pytest.approx(values[row["origin"] + row["step"], column], rel=1e-6)
        assert row["forecast"] == row["q0.5"] == found.forecasts[place, row["step"] - 1, column]
        assert row["q0.9"] == found.quantiles[place, row["step"] - 1, column, 2]
    assert roll(forecaster(), values).table().columns == ["origin", "step", "target", "truth", "forecast"]


def test_origins_begin_anew_where_rows_are_missing():
    # As between two series that lie one after the other.
    starts = torch.tensor([12, 13, 14, 15, 16, 40, 41, 42, 43, 90])
    assert starts[strided(starts, 3)].tolist() == [12, 15, 40, 43, 90]
    assert strided(starts, 1).tolist() == list(range(10))


def test_a_model_is_as_it_was_afterwards():
    model = forecaster(dropout=0.5).train()
    roll(model, series())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_be_backtested_is_refused_with_one_line():
    model = forecaster()
    classes = DataSpec(input_size=2, classes=("a", "b"))
    for asked, said in (
        (lambda: roll(Classifier(classes, partial(GRU, hidden_size=4)), series()), "needs a forecaster"),
        (lambda: roll(model, series(), stride=0), "stride=0: must be at least 1 row"),
        (lambda: roll(model, series(16)), "a series of 16 rows is too short .* need 17"),
        (lambda: roll(model, np.zeros((2, 40, 2))), "a backtest takes one series, not 2"),
        (
            lambda: roll(model, SeasonalData(length=300)),
            "trained on other data, with a different targets",
        ),
        (lambda: cellstate.backtest(model), "a model does not contain its data"),
    ):
        with pytest.raises(RequestError, match=said):
            asked()
