"""Noisy sine waves, held against what defines a sine, theory of estimation, brute force and Monte Carlo."""

import math

import numpy as np
import pytest
from matplotlib import rc_context

import cellstate
from cellstate.data import SineData
from cellstate.data.synthetic.generated import SPLITS
from cellstate.data.synthetic.sine import fitted_sine, sine_waves
from cellstate.errors import RequestError
from cellstate.metrics.regression import regression_scores
from cellstate.model.material import Material
from cellstate.model.regression import figures as regression
from cellstate.plotting.theme import DARK, LIGHT

SIGMAS = 5.0  # a true claim fails with probability 6e-7
SIZES = {"train_size": 300, "val_size": 100, "test_size": 200}


def waves(count, *, seed=0, split="train", steps=60, **options):
    return sine_waves(np.arange(count), seed=seed, split=split, steps=steps, **options)


def mean_of(values, expected):
    """Assert that the mean of independent ``values (N,)`` is the expected one, within five of its standard errors."""
    assert abs(values.mean() - expected) < SIGMAS * values.std() / math.sqrt(len(values))


def described(signal):
    """Frequency, amplitude and phase (as a share of a cycle) of clean waves ``(N, steps)``.

    A sine, and nothing else, has x_(t+1) + x_(t-1) = 2 cos(w) x_t; then x_0 = a sin p and x_1 = a sin(w + p).
    """
    middle = signal[:, 1:-1]
    cosine = ((signal[:, 2:] + signal[:, :-2]) * middle).sum(1) / (2 * middle**2).sum(1)
    np.testing.assert_allclose(signal[:, 2:] + signal[:, :-2], 2 * cosine[:, None] * middle, atol=1e-9)
    w = np.arccos(cosine)
    quadrature = (signal[:, 1] - cosine * signal[:, 0]) / np.sin(w)  # a cos p
    phase = np.arctan2(signal[:, 0], quadrature) / (2 * np.pi) % 1
    return w / (2 * np.pi), np.hypot(signal[:, 0], quadrature), phase


# ---------------------------------------------------------------------- the waves


def test_a_wave_is_a_sine_whose_frequency_amplitude_and_phase_are_uniform():
    drawn = waves(20_000, frequencies=(0.05, 0.25), amplitudes=(1.0, 3.0))
    np.testing.assert_array_equal(drawn.values, drawn.signal + drawn.noise)
    shares = []
    for values, low, high in zip(described(drawn.signal), (0.05, 1.0, 0.0), (0.25, 3.0, 1.0), strict=True):
        share = (values - low) / (high - low)
        assert -1e-9 < share.min() < 1e-3
        assert 1 - 1e-3 < share.max() < 1 + 1e-9
        for power in (1, 2, 3):
            mean_of(share**power, 1 / (power + 1))
        shares.append(share - 0.5)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        mean_of(shares[first] * shares[second], 0)


def test_a_range_of_one_value_is_that_value():
    frequency, amplitude, _ = described(waves(50, frequencies=(0.1, 0.1), amplitudes=(2.0, 2.0)).signal)
    np.testing.assert_allclose(frequency, 0.1)
    np.testing.assert_allclose(amplitude, 2.0)


def test_the_noise_is_white_and_knows_nothing_of_its_wave():
    drawn = waves(5000, noise=0.3)
    noise = drawn.noise / 0.3
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        mean_of((noise**power).ravel(), moment)
    for lag in (1, 2, 7):
        mean_of((noise[:, lag:] * noise[:, :-lag]).ravel(), 0)
    mean_of((noise * drawn.signal).ravel(), 0)
    np.testing.assert_allclose(drawn.noise, 3 * waves(5000, noise=0.1).noise, rtol=1e-12)


def test_a_wave_is_the_same_whoever_asks_and_a_longer_one_begins_with_it():
    whole = waves(100)
    order = np.random.default_rng(0).permutation(100)
    shuffled = sine_waves(order, seed=0, split="train", steps=45)
    for part, mine in zip(whole, shuffled, strict=True):
        np.testing.assert_array_equal(mine, part[order, :45])


def test_splits_and_seeds_are_different_draws():
    draws = [waves(20, split=split) for split in SPLITS] + [waves(20, seed=1)]
    assert len({draw.signal.tobytes() for draw in draws}) == len({draw.noise.tobytes() for draw in draws}) == 4


def test_targets_are_the_steps_after_the_window_as_observed():
    data = SineData(window=30, horizon=4, **SIZES)
    for split, size in zip(SPLITS, SIZES.values(), strict=True):
        drawn = waves(size, split=split, steps=34)
        samples = data.samples(split)
        assert samples.inputs.shape == (size, 30, 1)
        np.testing.assert_allclose(samples.inputs[..., 0].numpy(), drawn.values[:, :30], atol=1e-6)
        np.testing.assert_array_equal(data.values(split), drawn.values[:, 30:])
        scaled = samples.targets.double().numpy() * data.spec.std + data.spec.mean
        np.testing.assert_allclose(scaled, drawn.values[:, 30:], atol=1e-6)
        np.testing.assert_array_equal(data.waves(split).signal, drawn.signal)
    training = waves(300, steps=34).values[:, 30:]
    np.testing.assert_allclose(data.spec.mean, training.mean(0))
    np.testing.assert_allclose(data.spec.std, training.std(0))
    assert data.spec.targets == ("1 step ahead", "2 steps ahead", "3 steps ahead", "4 steps ahead")
    assert (data.spec.input_size, data.spec.horizon) == (1, 0)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"frequencies": (0.0, 0.1)}, "data.frequencies=[0.0, 0.1]"),
        ({"frequencies": (0.2, 0.1)}, "data.frequencies=[0.2, 0.1]"),
        ({"frequencies": (0.1, 0.5)}, "data.frequencies=[0.1, 0.5]"),
        ({"amplitudes": (0.0, 1.0)}, "data.amplitudes=[0.0, 1.0]"),
        ({"amplitudes": (2.0, 1.0)}, "data.amplitudes=[2.0, 1.0]"),
    ],
)
def test_parameters_that_describe_no_wave_are_refused_in_one_line(options, key):
    with pytest.raises(RequestError) as caught:
        _ = SineData(**options).prepared
    (problem,) = caught.value.problems
    assert problem.startswith(key)


def test_all_problems_of_a_request_are_told_at_once():
    with pytest.raises(RequestError) as caught:
        waves(1, split="trian", frequencies=(0.0, 1.0), amplitudes=(0.0, 1.0))
    assert len(caught.value.problems) == 3


# ---------------------------------------------------------------------- the floor


def test_the_floor_is_the_error_of_the_clean_wave():
    data = SineData(horizon=3, noise=0.2, **{**SIZES, "test_size": 20_000})
    optimum, realised, drawn = data.optimum(), data.optimum_realised(), data.waves("test")
    left = np.abs(drawn.values - drawn.signal)[:, 50:]
    assert realised["mae"] == pytest.approx(left.mean())
    assert realised["rmse"] == pytest.approx(math.sqrt((left**2).mean()))
    assert realised == pytest.approx(regression_scores(drawn.signal[:, 50:], drawn.values[:, 50:], spec=data.spec))
    # In expectation: sigma sqrt(2 / pi), sigma and sigma^2, for whatever noise is drawn.
    mean_of(left.ravel(), optimum["mae"])
    mean_of(left.ravel() ** 2, optimum["mse"])
    assert optimum["mae"] == pytest.approx(0.2 * math.sqrt(2 / math.pi))
    assert optimum["rmse"] == pytest.approx(0.2)
    mean_of((left / data.spec.std).mean(1), optimum["mae_scaled"])
    mean_of((left**2 / np.square(data.spec.std)).mean(1), optimum["mse_scaled"])


def test_references_are_the_scores_of_their_predictions():
    data = SineData(horizon=2, **SIZES)
    table, values = data.reference_table(), waves(200, split="test", steps=52).values
    truth, window = values[:, 50:], values[:, :50]
    for name, prediction in (
        ("last_value", window[:, -1:]),
        ("mean", np.asarray(data.spec.mean)),
        ("sine_fit", fitted_sine(window, 2, (0.02, 0.1))),
    ):
        assert table["mae"][name] == pytest.approx(np.abs(prediction - truth).mean())
        assert table["mse"][name] == pytest.approx(((prediction - truth) ** 2).mean())


# ---------------------------------------------------------------------- the fit


@pytest.mark.parametrize(("steps", "horizon"), [(50, 10), (200, 5), (9, 3)])
@pytest.mark.parametrize("frequencies", [(0.02, 0.1), (0.005, 0.49), (0.07, 0.07)])
def test_the_fit_recovers_a_noiseless_wave_exactly(steps, horizon, frequencies):
    clean = waves(200, steps=steps + horizon, noise=0.0, frequencies=frequencies, amplitudes=(0.5, 4.0)).values
    predicted = fitted_sine(clean[:, :steps], horizon, frequencies)
    np.testing.assert_allclose(predicted, clean[:, steps:], atol=1e-7)


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_no_other_sine_fits_better(noise):
    # By brute force: a linear fit, by another solver, at each of 2,000 frequencies.
    windows = waves(40, steps=50, noise=noise).values
    time = np.arange(50.0)
    errors, carried = [], []
    for frequency in np.linspace(0.02, 0.1, 2000):
        angle = 2 * np.pi * frequency * np.arange(51.0)
        basis = np.stack((np.cos(angle), np.sin(angle)), axis=1)
        weights, *_ = np.linalg.lstsq(basis[: len(time)], windows.T, rcond=None)
        errors.append(((basis[: len(time)] @ weights - windows.T) ** 2).sum(0))
        carried.append(basis[-1] @ weights)
    best = np.argmin(errors, axis=0)
    brute = np.asarray(carried)[best, np.arange(40)]
    np.testing.assert_allclose(fitted_sine(windows, 1, (0.02, 0.1))[:, 0], brute, atol=0.04 * noise)


def test_a_window_of_fifty_leaves_the_fit_five_per_cent_above_the_floor():
    # The variance of the fit at the next step is 5 sigma^2 / W on average over the phase (Rife & Boorstyn 1974).
    drawn = waves(6000, steps=51)
    left = (fitted_sine(drawn.values[:, :50], 1, (0.02, 0.1)) - drawn.signal[:, 50:])[:, 0]
    excess = np.mean(left**2) / 0.1**2
    deviation = (left**2).std() / math.sqrt(6000) / 0.1**2
    assert abs(excess - 5 / 50) < SIGMAS * deviation + 0.01  # the theory is for many steps, at the window's very end
    assert 1.04 < math.sqrt(1 + excess) < 1.06


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_window_shorter_than_its_unknowns_has_a_finite_fit(steps):
    windows = waves(30, steps=steps).values
    predicted = fitted_sine(windows, 2, (0.02, 0.1))
    assert predicted.shape == (30, 2)
    assert np.isfinite(predicted).all()


# ---------------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sine")
    small = ["data.train_size=128", "data.val_size=64", "data.test_size=100", "data.horizon=3", "trainer.max_epochs=1"]
    return cellstate.train(
        ["experiment=sine", *small, "backbone.hidden_size=8", "trainer.accelerator=cpu", f"hydra.run.dir={folder}"]
    )


def test_the_experiment_reads_waves_with_a_gru(run):
    assert run.config["backbone"]["_target_"] == "cellstate.backbone.GRU"
    assert run.config["model"]["_target_"] == "cellstate.model.Regressor"
    assert run.metrics["reference"]["mae"].keys() == {"optimum", "optimum_realised", "mean", "last_value", "sine_fit"}


def test_the_figures_show_three_waves_with_what_was_predicted(run):
    material = Material(run.metrics, run.history, run.data, run.model)
    drawings = {drawing.name: drawing for drawing in run.model.section(material).drawings}
    assert list(drawings) == ["waves", "predicted_and_true", "residuals"]
    drawn = run.data.waves("test")
    predicted = run.model.predict(drawn.values[:, :50])
    for theme in (LIGHT, DARK):
        with rc_context(theme.rc()):
            figure = drawings["waves"].draw(theme)
        assert len(figure.axes) == 3
        for axes in figure.axes:
            curves = {line.get_color(): line.get_ydata() for line in axes.lines if len(line.get_ydata()) > 2}
            (index,) = np.flatnonzero((drawn.signal == curves[theme.optimum]).all(axis=1))
            np.testing.assert_array_equal(curves[theme.muted], drawn.values[index, :50])
            np.testing.assert_allclose(curves[theme.ink], drawn.values[index, 50:], atol=1e-6)
            np.testing.assert_allclose(curves[theme.run], predicted[index], atol=1e-5)
        with rc_context(theme.rc()):
            bars = drawings["residuals"].draw(theme).axes[0]
        # The noise by itself, in sequences a bin, sums to all sequences.
        (noise,) = (line for line in bars.lines if line.get_color() == theme.optimum)
        (steps,) = bars.patches
        width = np.diff(steps.get_data().edges)[0]
        total = np.trapezoid(noise.get_ydata(), noise.get_xdata()) / width
        assert total == pytest.approx(100, rel=0.01)
        found = regression.collect(material)
        np.testing.assert_allclose(found.errors.mean(), run.metrics["test"]["mae"], rtol=1e-6)
