"""References of an optional package: without it one line says how to install it; which rows its models may see."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from cellstate.data.classical import MODELS
from cellstate.data.splitting import Series
from cellstate.data.windows import WindowedData
from cellstate.errors import RequestError


class Panel(WindowedData):
    """Two series that a test hands in."""

    def series(self):
        draw = np.random.default_rng(0)
        lengths = (60, 80)
        return Series(draw.normal(size=(140, 1)), ("y",), 4, ids=("a", "b"), lengths=lengths)


class Recorded:
    """A model that forecasts how many values it was fitted to and the last one before the forecast, in turn."""

    def __init__(self, season_length):
        assert season_length == 4

    def fit(self, values):
        if len(values) == 66:
            raise ValueError("no optimum\nat all")
        self.rows = len(values)

    def forward(self, values, horizon):
        return {"mean": np.resize([self.rows, values[-1]], horizon)}


@pytest.fixture
def installed(monkeypatch):
    package, models = ModuleType("statsforecast"), ModuleType("statsforecast.models")
    package.__spec__ = importlib.util.spec_from_loader("statsforecast", None)
    for name in MODELS.values():
        setattr(models, name, Recorded)
    monkeypatch.setitem(sys.modules, "statsforecast", package)
    monkeypatch.setitem(sys.modules, "statsforecast.models", models)


def test_without_the_package_a_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    with pytest.raises(RequestError, match=r"data\.classical=true.*pip install 'cellstate\[classical\]'"):
        _ = Panel(window=8, horizon=2, split={"val": 6, "test": 8}, classical=True, batch_size=1).prepared
    assert Panel(window=8, horizon=2, split={"val": 6, "test": 8}, batch_size=1).prepared


@pytest.mark.usefixtures("installed")
def test_a_model_is_fitted_before_the_split_and_sees_all_rows_before_each_forecast(capsys):
    data = Panel(window=8, horizon=2, split={"val": 6, "test": 8}, classical=True, batch_size=1)
    values, starts = data.whole_series.values[:, 0], data.windows.starts("test")
    forecasts = data.reference_forecasts("test")["auto_theta"]()[..., 0]
    np.testing.assert_array_equal(forecasts[:, 0], np.where(data.windows.owners("test") == 0, 52, 72))
    np.testing.assert_array_equal(forecasts[:, 1], values[starts - 1])
    assert {"auto_theta", "auto_ets"} <= set(data.references()["owa"])
    capsys.readouterr()
    failing = Panel(window=8, horizon=2, split={"val": 6, "test": 14}, classical=True, batch_size=1)
    forecasts = failing.reference_forecasts("test")["auto_ets"]()[..., 0]
    second = failing.windows.owners("test") == 1
    np.testing.assert_array_equal(
        forecasts[second, 0], failing.whole_series.values[failing.windows.starts("test") - 1, 0][second]
    )
    assert "cannot forecast series 'b' (no optimum): its last value is used instead" in capsys.readouterr().err
