"""An ensemble is one run, with one checkpoint for evaluation, prediction, inspection and resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import Command, series_rows, write_csv

import cellstate as framework

SERIES = (
    "experiment=series", "data.path=load.csv", "data.window=24", "data.horizon=6", "backbone.hidden_size=8",
    "model.embedding_size=8", "trainer.max_steps=12", "trainer.val_check_interval=4", "report=false",
)  # fmt: skip


@pytest.fixture
def load(working_folder: Path) -> Path:
    return write_csv(working_folder / "load.csv", series_rows())


def test_an_ensemble_is_evaluated_predicts_and_is_inspected(load: Path, cellstate: Command) -> None:
    answer = cellstate("train", *SERIES, "ensemble=3", "hydra.run.dir=run")
    assert answer.status == 0, answer.stderr
    assert "ensemble of 3 networks" in answer.stderr
    again = cellstate("evaluate", "checkpoint=run")
    assert "metrics identical" in again.stdout, again.stderr
    assert cellstate("predict", "checkpoint=run", f"input={load}", "output=next.csv").status == 0
    history = np.array([float(line.split(",")[1]) for line in load.read_text().splitlines()[1:]])
    model = framework.load("run")
    members = np.stack([member.predict(history) for member in model.members])
    assert len(members) == 3
    assert np.ptp(members, axis=0).max() > 0
    printed = np.array([float(line.split(",")[-1]) for line in Path("next.csv").read_text().splitlines()[1:]])
    np.testing.assert_allclose(printed, model.predict(history), rtol=1e-5)
    assert cellstate("inspect", "checkpoint=run", "sequences=8", "output=seen").status == 0


def test_an_ensemble_resumes_exactly(load: Path, cellstate: Command, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    assert cellstate("train", *SERIES, "ensemble=2", "hydra.run.dir=whole").status == 0

    from cellstate.model import Forecaster

    step = Forecaster.on_validation_epoch_end

    def interrupted(self):
        step(self)
        if self.trainer.global_step >= 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Forecaster, "on_validation_epoch_end", interrupted)
        assert cellstate("train", *SERIES, "ensemble=2", "hydra.run.dir=broken").status != 0
    assert cellstate("train", "run=broken").status == 0
    one, other = (framework.load(folder).state_dict() for folder in ("whole", "broken"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("size", ["0", "many", "1000"])
def test_a_wrong_number_of_networks_is_one_line(load: Path, cellstate: Command, size: str) -> None:  # noqa: ARG001
    answer = cellstate("train", *SERIES, f"ensemble={size}")
    assert answer.status == 2
    (line,) = answer.errors
    assert f"ensemble={size}: should be an integer from 1 to 100" in line


def test_a_model_that_cannot_be_averaged_is_one_line(cellstate: Command) -> None:
    answer = cellstate("train", "experiment=char_lm", "ensemble=2")
    assert answer.status == 2
    (line,) = answer.errors
    assert "ensemble=1" in line
