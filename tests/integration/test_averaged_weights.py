"""With ``callbacks=weight_averaging`` everything that a run leaves is of the averages."""

import numpy as np
import pytest
import torch
from tests.conftest import slow

import cellstate as package
from cellstate import checkpoint
from cellstate.errors import RequestError

COMMON = ["callbacks=weight_averaging", "checkpoint.keep=last", "report=false", "quiet=true", "hydra.run.dir=run"]
TEXT = ["data.split=[0.8,0.1,0.1]", "data.steps=16", "backbone.hidden_size=16"]
LIMITS = ["trainer.limit_train_batches=20", "trainer.limit_val_batches=3", "trainer.limit_test_batches=3"]
RUNS = {
    "classifier": [  # with running statistics
        *("experiment=temporal_order", "model=lstm_fcn", "data.train_size=320", "data.length=20", "data.val_size=64"),
        *("data.test_size=64", "trainer.max_epochs=2", "backbone.hidden_size=8"),
    ],
    "forecaster": [  # validated after its last step, not at it
        *("experiment=series", "trainer.max_steps=50", "trainer.val_check_interval=20", "backbone.hidden_size=16"),
    ],
    "language model": ["experiment=char_lm", *TEXT, *LIMITS, "trainer.max_epochs=2", "model.tied=true"],
    "ensemble": ["experiment=adding", "ensemble=2", "data.train_size=320", "trainer.max_epochs=2", "data.length=10"],
}


@pytest.mark.parametrize("name", ["classifier", "forecaster", *slow("language model", "ensemble")])
def test_validation_test_and_checkpoint_are_of_the_averages(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = package.train([*RUNS[name], *COMMON])
    last = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    best = checkpoint.read(run.checkpoint)["state_dict"]
    averaged = last["callbacks"]["WeightAveraging"]["averaged"]
    assert all(torch.equal(best[key], value) for key, value in averaged.items())
    assert any(not torch.equal(last["state_dict"][key], value) for key, value in averaged.items())
    # Rebuilt from the checkpoint alone the scores are the same to the bit, and so they are those of its weights.
    evaluation = package.evaluate(run.checkpoint)
    assert {"val", "test"} <= set(evaluation.metrics) or name == "language model"
    assert evaluation.compared
    assert not evaluation.differing
    loaded = package.load(run.checkpoint)
    assert all(torch.equal(value, run.model.state_dict()[key]) for key, value in loaded.state_dict().items())
    if name == "forecaster":
        history = run.data.whole_series.values[:, 0]
        np.testing.assert_array_equal(run.model.predict(history), loaded.predict(history))


def test_a_run_says_that_it_averages_and_how(cellstate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*RUNS["ensemble"], "report=false", "callbacks=weight_averaging", "callbacks.weight_averaging.start=5"]
    moving = cellstate("train", *words)
    equal = cellstate("train", *words, "callbacks.weight_averaging.decay=null")
    plain = cellstate("train", *RUNS["ensemble"], "report=false")
    said = "weights are averaged: a {} after the first 5, is validated, kept and tested"
    assert said.format("moving average over steps, decay 0.999") in moving.stderr
    assert said.format("mean of all steps") in equal.stderr
    assert "weights are averaged" not in plain.stderr


def test_sharded_weights_are_rejected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cellstate.training.build.FSDPStrategy", object)  # any strategy: there is no second device
    with pytest.raises(RequestError, match="cannot be averaged"):
        package.train([*RUNS["ensemble"], *COMMON])
    assert not (tmp_path / "run").exists()
