"""The same from Python: train, load, evaluate, predict."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import TINY, series_rows, write_csv
from tests.rounding import rounding

import cellstate
from cellstate.data import PatternData
from cellstate.errors import CellstateError, RequestError, RunError


def predict(model: Any, inputs: Any) -> Any:
    """Predict with a model of either kind."""
    return model.predict(inputs)


PATTERN = ["experiment=pattern", *TINY]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> cellstate.Run:
    """One trained classifier, for all tests that only look at it."""
    return cellstate.train([*PATTERN, f"hydra.run.dir={tmp_path_factory.mktemp('runs') / 'classifier'}"])


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> cellstate.Run:
    """One trained forecaster: windows of 48 hours, horizon 24."""
    folder = tmp_path_factory.mktemp("series")
    file = write_csv(folder / "load.csv", series_rows(400))
    words = [f"data.path={file}", "data.window=48", "trainer.max_epochs=1", "backbone.hidden_size=8", "report=false"]
    return cellstate.train(["experiment=series", *words, f"hydra.run.dir={folder / 'run'}"])


def test_a_run_returns_metrics_history_model_data_and_folder(run: cellstate.Run) -> None:
    assert run.metrics["test"]["accuracy"] >= 0
    assert [row["epoch"] for row in run.history] == [0]
    assert run.data.spec.classes == ("without 110", "with 110")
    assert run.checkpoint == run.folder / "checkpoints" / "best.ckpt"
    assert run.checkpoint.is_file()
    assert not run.model.training


@pytest.mark.parametrize(
    ("words", "whole", "epochs"),
    [
        (["trainer.max_epochs=2"], 2, [0, 1]),
        (["trainer.max_steps=6"], 1, [0, 1]),  # four batches an epoch: the second is broken off and scored
        (["trainer.max_steps=8"], 2, [0, 1]),
        (["trainer.max_steps=3", "trainer.max_epochs=3"], 0, [0]),
        (["trainer.max_epochs=2", "trainer.accumulate_grad_batches=3"], 2, [0, 1]),
    ],
)
def test_epochs_are_counted_by_the_batches_that_were_trained(
    words: list[str], whole: int, epochs: list[int], tmp_path: Path
) -> None:
    small = [word for word in TINY if "max_epochs" not in word]
    folder = f"hydra.run.dir={tmp_path / 'run'}"
    run = cellstate.train(["experiment=pattern", *small, "data.batch_size=16", *words, folder])
    assert run.metrics["epochs"] == whole
    assert [row["epoch"] for row in run.history] == epochs
    best = min(run.history, key=lambda row: row["val/loss"])
    assert (run.metrics["best"]["epoch"], run.metrics["best"]["step"]) == (best["epoch"], best["step"])


def test_data_prints_what_there_is_to_know_of_it(run: cellstate.Run) -> None:
    assert "does a sequence of 20 bits contain 110? 64 train" in str(run.data)
    assert "not read yet" in repr(PatternData())


def test_one_string_of_overrides_is_refused_with_the_list_that_was_meant() -> None:
    with pytest.raises(RequestError, match=r"should be a list of strings, such as \['seed=3'\]"):
        cellstate.train("seed=3")


def test_a_loaded_model_predicts_what_the_trained_one_does(run: cellstate.Run) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (5, 20))
    expected = predict(run.model, bits)["probabilities"]
    for place in (run.folder, run.checkpoint, str(run.checkpoint)):
        np.testing.assert_array_equal(predict(cellstate.load(place), bits)["probabilities"], expected)


def test_evaluate_gives_the_recorded_numbers_to_the_bit(run: cellstate.Run) -> None:
    evaluation = cellstate.evaluate(run.folder)
    assert len(evaluation.compared) == 8
    assert evaluation.differing == []
    assert evaluation.metrics["test"] == run.metrics["test"]


def test_predictions_take_lists_arrays_and_tensors_alike(run: cellstate.Run) -> None:
    bits = [[0, 1, 1, 0, 1] * 4, [0, 1, 0, 0, 1] * 4]
    model = cellstate.load(run.checkpoint)
    forms = [bits, np.array(bits), torch.tensor(bits), torch.tensor(bits).float().unsqueeze(-1)]
    expected = predict(model, forms[0])
    assert expected["probabilities"].shape == (2, 2)
    for form in forms[1:]:
        np.testing.assert_array_equal(predict(model, form)["probabilities"], expected["probabilities"])
    within = rounding(20 * (1 + 8) + 8)  # 20 steps, eight units
    np.testing.assert_allclose(predict(model, bits[0])["probabilities"], expected["probabilities"][0], atol=within)


@pytest.mark.parametrize(
    "inputs",
    [[], [[]], 3, [[[[0.0]]]], np.zeros((2, 20, 3)), [[1.0, math.nan]], [[1, 0], [1]], [["a", "b"]], None],
    ids=repr,
)
def test_inputs_of_a_wrong_shape_are_refused_in_one_line(run: cellstate.Run, inputs: object) -> None:
    with pytest.raises(RequestError) as caught:
        predict(run.model, inputs)
    assert len(caught.value.problems) == 1


def test_a_forecast_has_the_shape_of_its_history(forecaster: cellstate.Run) -> None:
    history = np.sin(np.arange(60.0))
    model = cellstate.load(forecaster.folder)
    one = predict(model, history.tolist())
    assert one.shape == (24,)
    for form, shape in (
        (history, (24,)),
        (torch.from_numpy(history), (24,)),
        (history[:, None], (24, 1)),
        (history[None, :, None], (1, 24, 1)),
        (np.stack([history, history]), (2, 24)),
    ):
        forecast = predict(model, form)
        assert forecast.shape == shape
        # Windows of 48 steps of one input, eight units; scaled by the data's deviation and moved by its mean.
        spec = forecaster.data.spec
        within = rounding(48 * (1 + 8) + 8) * (abs(spec.mean[0]) + spec.std[0])
        np.testing.assert_allclose(forecast.reshape(-1)[:24], one, rtol=0, atol=within)


def test_a_history_shorter_than_the_window_is_refused(forecaster: cellstate.Run) -> None:
    with pytest.raises(RequestError, match="a history of 47 steps is too short: the model needs windows of 48"):
        predict(forecaster.model, [1.0] * 47)


def test_evaluate_takes_the_file_from_where_it_lies_now_and_knows_another(
    forecaster: cellstate.Run, working_folder: Path
) -> None:
    original = Path(forecaster.config["data"]["path"])
    moved = working_folder / "moved.csv"
    moved.write_bytes(original.read_bytes())
    assert cellstate.evaluate(forecaster.folder, data={"path": str(moved)}).differing == []
    write_csv(moved, [row.replace("7.5", "8.5") for row in series_rows(400)])
    with pytest.raises(
        RequestError, match=r"moved\.csv is not the data that this model was trained on.*data\.path=FILE"
    ):
        cellstate.evaluate(forecaster.folder, data={"path": str(moved)})


def test_a_wrong_request_raises_with_all_problems_and_leaves_nothing(working_folder: Path) -> None:
    with pytest.raises(RequestError) as caught:
        cellstate.train([*PATTERN, "seed=-1", "data.batch_size=0"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["seed=-1", "data.batch_size=0"]
    for words, complaint in (
        (["backbone.hiden_size=3"], "did you mean 'backbone.hidden_size'?"),
        (["experiment=patern"], "did you mean 'pattern'?"),
        (["data.pattern=[1"], "a ']' is missing"),
        (["hydra.run.dir=/proc/run"], "no run can be written there"),
    ):
        with pytest.raises(RequestError) as caught:
            cellstate.train([*PATTERN[1:], *words])
        assert complaint in str(caught.value)
    with pytest.raises(RequestError, match="config_dir=nowhere: no such folder"):
        cellstate.train(PATTERN, config_dir="nowhere")
    assert list(working_folder.iterdir()) == []


def test_experiments_of_ones_own_train_from_python(working_folder: Path) -> None:
    folder = working_folder / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text("# @package _global_\ndefaults:\n  - pattern\nseed: 5\n")
    run = cellstate.train(["experiment=small", *TINY], config_dir="mine")
    assert (run.metrics["experiment"], run.metrics["seed"]) == ("small", 5)
    assert run.folder.parent == Path("outputs/runs/small")


def test_runs_of_one_process_do_not_touch_each_other(run: cellstate.Run, working_folder: Path) -> None:  # noqa: ARG001
    again = cellstate.train(PATTERN)
    assert again.metrics["test"] == run.metrics["test"]
    assert again.folder != run.folder


def test_training_works_in_a_thread(run: cellstate.Run, working_folder: Path) -> None:  # noqa: ARG001
    results: list[cellstate.Run] = []
    thread = threading.Thread(target=lambda: results.append(cellstate.train(PATTERN)))
    thread.start()
    thread.join()
    assert results[0].metrics["test"] == run.metrics["test"]


def test_quiet_prints_nothing_at_all(working_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001
    cellstate.train([*PATTERN, "backbone.dropout=0.1"])
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    cellstate.train(PATTERN, quiet=False)
    said = capfd.readouterr()
    assert "Results:" in said.out
    assert "parameters, seed 0" in said.err


def test_errors_tell_wrong_requests_from_failed_work() -> None:
    assert issubclass(RequestError, CellstateError)
    assert (RequestError.exit_status, RunError.exit_status) == (2, 1)
