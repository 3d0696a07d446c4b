"""The default forecaster: never far below ridge regression, and at home with series of any level."""

from pathlib import Path

import numpy as np
import pytest

import cellstate as framework

BARELY = ("trainer.max_steps=4", "optimizer.lr=1e-8", "report=false")
SMALL = ("backbone.hidden_size=8", "model.embedding_size=8")
NOISE = np.random.default_rng(0).normal(size=1000)


@pytest.fixture
def noisy_season(working_folder: Path) -> Path:
    """A trend and two waves with noise of deviation 1, without times."""
    steps = np.arange(1000)
    signal = 0.02 * steps + 10 * np.sin(2 * np.pi * steps / 50) + 5 * np.sin(2 * np.pi * steps / 25)
    values = signal + NOISE
    file = working_folder / "season.csv"
    file.write_text("y\n" + "\n".join(map(str, values)) + "\n")
    return file


@pytest.mark.parametrize("every", [4, 100], ids=["validated", "ended before its first validation"])
def test_a_network_that_learned_nothing_leaves_a_ridge_regression(noisy_season: Path, every: int) -> None:
    words = [f"data.path={noisy_season}", "data.window=50", "data.horizon=10", f"trainer.val_check_interval={every}"]
    run = framework.train(["experiment=series", *words, *BARELY, *SMALL])
    model = run.model
    assert model.share == 1
    assert model.linear.profile.any(), "no harmonics were used"
    floor = np.abs(NOISE[np.arange(800, 991)[:, None] + np.arange(10)]).mean()  # of who knows the signal
    assert floor < run.metrics["test"]["mae"] < 1.1 * floor
    assert run.metrics["test"]["mae"] < run.metrics["reference"]["mae"]["ridge_linear"]
    again = framework.evaluate(run.checkpoint)
    assert again.differing == []


def test_series_whose_levels_differ_are_forecast_in_units_of_their_own(working_folder: Path) -> None:
    chance = np.random.default_rng(1)
    wave = 1 + 0.5 * np.sin(2 * np.pi * np.arange(200) / 8)
    rows = [level * wave[: 200 - 20 * number] for number, level in enumerate((1.0, 50.0, 2000.0, 1e5))]
    rows = [row * np.exp(0.01 * chance.normal(size=len(row))) for row in rows]
    lines = [f"s{number}," + ",".join(map(str, row)) + "," * (200 - len(row)) for number, row in enumerate(rows)]
    file = working_folder / "wide.csv"
    file.write_text("id," + ",".join(f"V{step}" for step in range(200)) + "\n" + "\n".join(lines) + "\n")
    words = ["data.horizon=8", "data.season=8", "trainer.max_steps=20", "trainer.val_check_interval=10", "report=false"]
    run = framework.train(["experiment=series", f"data.path={file}", *words, *SMALL])
    model = run.model
    assert (model.normalisation, model.loss_name, model.base is not None) == ("mean_std", "owa", True)
    assert run.metrics["test"]["owa"] < 1.5
    # The seasonal naive forecast is off by the noise of two values, 1 % each: so is its correction, in every unit.
    for row in rows:
        forecast = model.predict(row[:-8])
        assert np.mean(np.abs(forecast / row[-8:] - 1)) < 0.06
