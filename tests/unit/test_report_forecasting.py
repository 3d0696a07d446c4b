"""What a page shows of a forecaster that says how uncertain it is."""

from functools import partial

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import same_color

from cellstate.backbone import GRU
from cellstate.data import SeasonalData
from cellstate.model import Forecaster
from cellstate.model.forecasting import figures as forecasting
from cellstate.model.material import Material
from cellstate.plotting.theme import THEMES


def material(head, horizon=10):
    data = SeasonalData(length=300, horizon=horizon)
    torch.manual_seed(0)
    model = Forecaster(data.spec, partial(GRU, hidden_size=4), head=head).eval()
    samples = data.prepared.splits["test"]
    batch = samples.batch(torch.arange(len(samples)))
    model.last_scores = model.new_scores()
    with torch.no_grad():
        model.update_scores(model.last_scores, model.compute_output(batch), batch)
    return Material({"test": {}, "reference": data.reference_table()}, [], data, model)


@pytest.mark.parametrize("horizon", [1, 10])
@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_forecasts_with_bands_and_their_calibration_are_drawn(head, theme, horizon):
    section = forecasting.section(material(head, horizon))
    assert [drawing.name for drawing in section.drawings] == ["forecasts", "error_by_step", "calibration"]
    assert "the central 50, 80 and 90 % intervals" in section.drawings[0].caption
    for drawing in section.drawings:
        with matplotlib.rc_context(theme.rc()):
            figure = drawing.draw(theme)
            figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        for axes in figure.axes:
            for text in axes.texts:
                box = text.get_window_extent()
                assert box.x0 >= 0
                assert box.x1 <= width
                assert box.y0 >= 0
                assert box.y1 <= height


def test_a_point_forecast_has_neither_bands_nor_calibration():
    section = forecasting.section(material("point"))
    assert [drawing.name for drawing in section.drawings] == ["forecasts", "error_by_step"]
    assert forecasting.collect(material("point")).bands == {}


def test_bands_lie_within_each_other_around_the_forecast():
    found = forecasting.collect(material("gaussian"))
    assert list(found.bands) == [90, 80, 50]  # the widest is drawn first
    (low90, high90), (low80, high80), (low50, high50) = found.bands.values()
    for narrow, wide in ((low80, low90), (low50, low80), (found.forecasts, low50)):
        assert (narrow > wide).all()
    for narrow, wide in ((high80, high90), (high50, high80), (found.forecasts, high50)):
        assert (narrow < wide).all()


def test_calibration_counts_what_lies_below_each_quantile():
    found = forecasting.collect(material("quantile"))
    shares = forecasting.shares_below(found)
    count = found.truth.size
    for place in range(7):
        below = sum(
            float(found.truth[window, step, 0]) <= float(found.quantiles[window, step, 0, place])
            for window in range(len(found.truth))
            for step in range(10)
        )
        assert shares[place] == pytest.approx(below / count)


def test_the_error_by_step_shows_ridge_and_the_noise_as_drawn():
    # The figure's curves are what is checked: their means over the steps are the references of the table.
    given = material("point")
    theme = THEMES[0]
    with matplotlib.rc_context(theme.rc()):
        (axes,) = forecasting.section(given).drawings[1].draw(theme).axes
    means = [
        float(np.mean(np.asarray(line.get_ydata(), dtype=float))) for line in axes.lines if len(line.get_ydata()) == 10
    ]
    reference = given.reference("mae")
    for name in ("ridge_linear", "last_value", "seasonal_naive", "optimum_realised"):
        assert min(abs(mean - reference[name]) for mean in means) < 1e-4 * reference[name], name
    assert any(same_color(line.get_color(), theme.optimum) for line in axes.lines)
