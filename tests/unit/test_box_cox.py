"""Box-Cox transforms: the exponent against published and independent values, and the way back."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from cellstate.backbone import GRU
from cellstate.data.batch import DataSpec
from cellstate.data.box_cox import EXPONENTS, guerrero
from cellstate.data.levels import levels_of
from cellstate.errors import RequestError
from cellstate.model import Forecaster
from cellstate.model.forecasting.transform import BoxCoxTransform, Transform

# Monthly totals of international airline passengers, 1949 to 1960, in thousands (Box & Jenkins 1976, Series G).
AIRLINE = np.array([
    112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115, 126, 141, 135, 125, 149,
    170, 170, 158, 133, 114, 140, 145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166,
    171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194, 196, 196, 236, 235, 229, 243,
    264, 272, 237, 211, 180, 201, 204, 188, 235, 227, 234, 264, 302, 293, 259, 229, 203, 229,
    242, 233, 267, 269, 270, 315, 364, 347, 312, 274, 237, 278, 284, 277, 317, 313, 318, 374,
    413, 405, 355, 306, 271, 306, 315, 301, 356, 348, 355, 422, 465, 467, 404, 347, 305, 336,
    340, 318, 362, 348, 363, 435, 491, 505, 404, 359, 310, 337, 360, 342, 406, 396, 420, 472,
    548, 559, 463, 407, 362, 405, 417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432,
], dtype=float)  # fmt: skip


def test_guerreros_exponent_of_the_airline_passengers_is_the_published_one():
    """R's ``forecast::BoxCox.lambda(AirPassengers, method = "guerrero")`` gives -0.2947156."""
    assert guerrero([AIRLINE], 12) == -0.29


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.5, 1.0])
def test_series_made_by_a_transform_give_back_its_exponent(exponent):
    """A season of constant size on a rising level, seen through the inverse of a transform."""
    steps = np.arange(1200)
    chance = np.random.default_rng(0)
    even = steps / 600 + 0.1 * np.sin(2 * np.pi * steps / 12) + 0.01 * chance.normal(size=1200)
    series = np.exp(even) if exponent == 0 else (1 + exponent * 0.8 * even) ** (1 / exponent)
    assert guerrero([series], 12) == pytest.approx(exponent, abs=0.06)
    assert guerrero([series, 7e5 * series, np.full(40, 3.0)], 12) == guerrero([series], 12)


def test_the_exponent_is_where_the_variation_of_the_ratios_is_least():
    def variation(exponent):
        ratios = []
        for start in range(len(AIRLINE) % 10, len(AIRLINE), 10):
            block = AIRLINE[start : start + 10]
            ratios.append(np.std(block, ddof=1) / np.mean(block) ** (1 - exponent))
        return np.std(ratios, ddof=1) / np.mean(ratios)

    assert guerrero([AIRLINE], 10) == min(EXPONENTS, key=variation)
    assert guerrero([AIRLINE[:15]], 12) == 1.0  # no two blocks


def spec_of(values, **changes):
    levels = levels_of([values[:, None]], 12)
    powers = levels.box_cox
    spec = DataSpec(
        input_size=1, targets=("v",), window=24, horizon=6, season=12, mean=tuple(levels.mean), std=tuple(levels.std),
        log_mean=levels.log_mean, log_std=levels.log_std, box_cox=powers.exponent, box_cox_mean=powers.mean,
        box_cox_std=powers.std,
    )  # fmt: skip
    return replace(spec, **changes)


def scaled(spec, values, dtype):
    return torch.from_numpy((values - spec.mean[0]) / spec.std[0]).to(dtype)[None, :, None]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("exponent", [None, -1.0, 0.0, 0.5, 2.0])
def test_the_inverse_is_exact_to_rounding(unit, exponent):
    spec = spec_of(unit * AIRLINE)
    if exponent is not None:
        spec = spec_of(unit * AIRLINE, box_cox=(exponent,), box_cox_mean=(0.1,), box_cox_std=(0.5,))
    transform = BoxCoxTransform(spec)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        values = scaled(spec, unit * AIRLINE, dtype)
        forth = transform.forward(values)
        torch.testing.assert_close(transform.inverse(forth), values, rtol=tolerance, atol=tolerance)


def test_the_training_rows_are_standardised_and_the_values_those_of_the_formula():
    spec = spec_of(AIRLINE)
    found = BoxCoxTransform(spec).forward(scaled(spec, AIRLINE, torch.float64)).squeeze()
    assert float(found.mean()) == pytest.approx(0, abs=1e-9)
    assert float(found.std(correction=0)) == pytest.approx(1)
    powers = (AIRLINE ** spec.box_cox[0] - 1) / spec.box_cox[0]
    np.testing.assert_allclose(found, (powers - powers.mean()) / powers.std(), rtol=1e-9)


def test_with_exponent_0_it_is_the_logarithm():
    spec = spec_of(AIRLINE, box_cox=(0.0,), box_cox_mean=(0.0,))
    spec = spec_of(AIRLINE, box_cox=(0.0,), box_cox_mean=(0.0,), box_cox_std=spec.log_std)
    values = scaled(spec, AIRLINE, torch.float32)
    power, logarithm = BoxCoxTransform(spec), Transform(spec)
    assert torch.equal(power.forward(values), logarithm.forward(values))
    assert torch.equal(power.inverse(values), logarithm.inverse(values))


def test_any_forecast_is_positive_and_finite_and_the_order_is_kept():
    for exponent in (-1.0, -0.29, 0.4, 2.0):
        spec = spec_of(AIRLINE, box_cox=(exponent,))
        wild = torch.linspace(-200, 200, 401)[None, :, None]
        values = BoxCoxTransform(spec).inverse(wild) * spec.std[0] + spec.mean[0]
        assert values.isfinite().all()
        assert values.min() >= -1e-3  # rounding of a value near 0
        assert (values.diff(dim=1) >= 0).all()


def test_a_forecaster_takes_it_for_positive_values_alone():
    build = partial(Forecaster, backbone=partial(GRU, hidden_size=8), transform="box_cox")
    model = build(spec_of(AIRLINE)).eval()
    assert "exponent -0.29" in model.facts()[0]
    assert np.isfinite(model.predict(AIRLINE)).all()
    signed = DataSpec(input_size=1, targets=("v",), window=24, horizon=6, mean=(0.0,), std=(1.0,))
    with pytest.raises(RequestError, match=r"model\.transform=box_cox: the training rows are not all positive"):
        build(signed)
    with pytest.raises(RequestError, match=r"model\.transform=box_cox: model\.head=gaussian"):
        build(spec_of(AIRLINE), head="gaussian")
    with pytest.raises(RequestError, match="box_cox, box_cox_mean or box_cox_std do not match"):
        DataSpec.from_dict({**spec_of(AIRLINE).as_dict(), "box_cox": []})
