"""TensorBoard, CSV, MLflow, and several at once; the package that one needs and does not find."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import TINY, Command

import cellstate as package
from cellstate.checkpoint import AtomicCheckpointIO
from cellstate.config.compose import compose
from cellstate.errors import RequestError, RunError

WORDS = ("experiment=pattern", *TINY, "data.batch_size=16", "trainer.max_epochs=3", "hydra.run.dir=run")
MANY = "logger=[csv,tensorboard,mlflow]"


def rows_of(file: Path) -> list[dict[str, Any]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that three loggers have followed."""
    working = tmp_path_factory.mktemp("working")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working)
        package.train([*WORDS, MANY, "report=true", "callbacks.gradient_norm.every_n_steps=5"])
    return working / "run"


def events_of(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def test_tensorboard_has_curves_scores_figures_and_tables(folder: Path) -> None:
    events = events_of(folder)
    expected = rows_of(folder / "metrics.csv")
    for name in ("train/loss", "val/loss", "val/auroc", "lr"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        # TensorBoard keeps single precision
        assert found == [(int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)) for row in expected]
    assert [event.step for event in events.Scalars("gradient_norm")] == [1, 6, 11]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert events.Scalars("test/loss")[0].value == pytest.approx(metrics["test"]["loss"], rel=1e-6)
    assert "figure/confusion_matrix" in events.Tags()["images"]
    texts = {tag for tag in events.Tags()["tensors"] if "text_summary" in tag}
    assert texts == {"config/text_summary", "table/confusion_matrix/text_summary"}


def test_csv_has_every_row_and_every_table(folder: Path) -> None:
    rows = rows_of(folder / "csv" / "metrics.csv")
    expected = rows_of(folder / "metrics.csv")
    found = [row for row in rows if row["val/loss"] and row["lr"]]
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert [row["step"] for row in rows if row["gradient_norm"]] == ["1", "6", "11"]
    cells = rows_of(folder / "csv" / "confusion_matrix.csv")
    assert sum(int(cell["count"]) for cell in cells) == 32


def test_mlflow_has_parameters_curves_and_files_and_leaves_nothing_elsewhere(folder: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'outputs' / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "pattern"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["cellstate_id"] == json.loads((folder / "manifest.json").read_text())["id"]
    assert run.data.params["backbone.hidden_size"] == "8"
    expected = rows_of(folder / "metrics.csv")
    curve = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "val/loss")]
    assert curve == [(int(row["step"]), float(row["val/loss"])) for row in expected]
    test = json.loads((folder / "metrics.json").read_text())["test"]
    assert run.data.metrics["best/test/loss"] == test["loss"]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"checkpoints", "config.yaml", "figures", "metrics.json", "report.html", "tables"}
    kept = Path(client.download_artifacts(run.info.run_id, "checkpoints/best.ckpt"))
    assert kept.read_bytes() == (folder / "checkpoints" / "best.ckpt").read_bytes()
    assert sorted(entry.name for entry in folder.parent.iterdir()) == ["outputs", "run"]


class KilledError(RuntimeError):
    """Takes the place of a kill, within one process."""


def test_a_run_that_goes_on_is_tracked_as_if_it_had_never_stopped(
    folder: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = AtomicCheckpointIO.save_checkpoint

    def dying(self: Any, content: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        written(self, content, path, storage_options)
        if Path(path).name == "last.ckpt" and content["global_step"] == 9:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", dying)
        with pytest.raises(KilledError):
            package.train([*WORDS, MANY, "callbacks.gradient_norm.every_n_steps=5", "checkpoint.every_n_steps=1"])
    assert package.resume("run") is not None
    resumed = working_folder / "run"
    aside = {"seconds"}
    for name in ("metrics.csv", "csv/metrics.csv"):
        found, expected = (
            [{key: value for key, value in row.items() if key not in aside} for row in rows_of(place / name)]
            for place in (resumed, folder)
        )
        assert found == expected
    ours, theirs = events_of(resumed), events_of(folder)
    for name in ("val/loss", "gradient_norm", "test/loss"):
        assert [(event.step, event.value) for event in ours.Scalars(name)] == [
            (event.step, event.value) for event in theirs.Scalars(name)
        ]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{working_folder / 'outputs' / 'mlflow.db'}")
    (run,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert len({point.step for point in client.get_metric_history(run.info.run_id, "val/loss")}) == 3


def test_a_failed_run_ends_as_failed_in_mlflow(working_folder: Path) -> None:
    from mlflow.tracking import MlflowClient

    with pytest.raises(RunError):
        package.train(
            ["experiment=sine", "trainer.max_epochs=1", "optimizer.lr=1e30", "trainer.gradient_clip_val=null",
             "backbone.hidden_size=8", "logger=mlflow", "hydra.run.dir=failed"]
        )  # fmt: skip
    client = MlflowClient(f"sqlite:///{working_folder / 'outputs' / 'mlflow.db'}")
    (run,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    assert run.info.status == "FAILED"


NOBODY = "http://localhost:1"  # a port that nothing listens at
WAIT, TRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


@pytest.fixture
def knocks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each attempt to connect may take; between them nothing is waited for."""
    import urllib3.util.connection
    import urllib3.util.retry

    seconds: list[float] = []
    connect = urllib3.util.connection.create_connection

    def counted(address: Any, timeout: Any, **options: Any) -> Any:
        seconds.append(timeout)
        return connect(address, timeout, **options)

    monkeypatch.setattr(urllib3.util.connection, "create_connection", counted)
    monkeypatch.setattr(urllib3.util.retry.Retry, "sleep", lambda *_: None)
    return seconds


@pytest.mark.parametrize(("given", "expected"), [({}, [10] * 3), ({TRIES: "4"}, [10] * 5), ({WAIT: "3"}, [3] * 3)])
def test_a_server_of_mlflow_that_does_not_answer_is_asked_a_few_times_and_named(
    given: dict[str, str],
    expected: list[float],
    cellstate: Command,
    knocks: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    answer = cellstate("train", *WORDS, "logger=mlflow", f"logger.mlflow.tracking_uri={NOBODY}", "quiet=true")
    assert answer.status == 1
    (line,) = answer.errors
    assert line.startswith(f"cellstate: error: logger=mlflow: no answer from {NOBODY} (Connection refused); ")
    assert "logger.mlflow.tracking_uri" in line
    assert len(line) < 300
    assert knocks == expected
    assert {name: value for name, value in os.environ.items() if name in (WAIT, TRIES)} == given


def test_a_signal_ends_the_wait_for_a_server(
    cellstate: Command, knocks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    answer = cellstate("train", *WORDS, "logger=mlflow", f"logger.mlflow.tracking_uri={NOBODY}", "quiet=true")
    assert answer.status != 0
    assert answer.stderr == "cellstate: error: interrupted before training started, waiting for MLFlowLogger\n"
    assert len(knocks) == 1
    assert json.loads(Path("run/manifest.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("logger", "package_name"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_package_is_one_line_with_the_command(
    logger: str, package_name: str, cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr("cellstate.logger.run.find_spec", lambda name: None if name == package_name else there(name))
    answer = cellstate("train", *WORDS, f"logger={logger}")
    assert answer.status == 2
    (line,) = answer.errors
    assert f"logger={logger}" in line
    assert f"pip install 'cellstate[{logger}]'" in line
    assert not Path("run").exists()


def test_a_wrong_value_of_a_logger_is_refused_with_its_place(cellstate: Command) -> None:
    answer = cellstate("train", *WORDS, "logger=[csv,wandb]", "logger.wandb.mode=sometimes", "+logger.csv.colour=red")
    assert answer.status == 2
    assert any("logger.wandb.mode=sometimes: should be" in line for line in answer.errors)
    assert any("logger.csv.colour: unknown key" in line for line in answer.errors)


def test_any_combination_is_a_list(working_folder: Path) -> None:  # noqa: ARG001
    config, _ = compose("train", ["logger=[wandb,csv,mlflow]", "logger.wandb.project=mine"])
    assert list(config.logger) == ["wandb", "csv", "mlflow"]
    assert config.logger.wandb.project == "mine"
    with pytest.raises(RequestError, match=r"unknown logger; did you mean 'csv'"):
        compose("train", ["logger=[wandb,csw]"])


def test_a_logger_of_lightnings_own_gets_config_rows_scores_and_norms(working_folder: Path) -> None:
    package.train(
        [*WORDS, "+logger.own._target_=lightning.pytorch.loggers.CSVLogger", "+logger.own.save_dir=own",
         "+logger.own.name=null", "+logger.own.version=one"]
    )  # fmt: skip
    rows, expected = rows_of(working_folder / "own/one/metrics.csv"), rows_of(working_folder / "run/metrics.csv")
    assert [row["val/loss"] for row in rows if row["val/loss"]] == [row["val/loss"] for row in expected]
    assert [row["step"] for row in rows if row["gradient_norm"]] == ["1"]
    test = json.loads((working_folder / "run/metrics.json").read_text())["test"]
    assert [float(row["test/loss"]) for row in rows if row["test/loss"]] == [test["loss"]]
    assert "hidden_size: 8" in (working_folder / "own/one/hparams.yaml").read_text()
