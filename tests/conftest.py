"""What all tests share. Nothing heavy is imported here: the environment must be set before torch is."""

from __future__ import annotations

import gc
import os

# One thread a process, unless asked otherwise: several processes share few cores, where threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process that a test starts compiles cellstate again
os.environ.pop("HYDRA_FULL_ERROR", None)  # with it, errors are tracebacks

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.compositions import remembered

TINY = (
    "trainer.max_epochs=1",
    "data.train_size=64",
    "data.val_size=32",
    "data.test_size=32",
    "backbone.hidden_size=8",
    "report=false",
)


@dataclass(frozen=True)
class Answer:
    """What a command line left behind: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines on stderr; each is a problem where a request was refused."""
        return self.stderr.splitlines()


Command = Callable[..., Answer]


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run all tests outside the checkout, so that none leaves a line in the ledger of whoever runs them."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.fixture(autouse=True, scope="session")
def no_account() -> Iterator[None]:
    """Nothing of the user's own accounts: no key, no settings, no server."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        patch.setenv("NETRC", os.devnull)
        patch.setenv("WANDB_CONFIG_DIR", os.devnull)
        yield


def pytest_collection_finish() -> None:
    """Leave out of all later searches for garbage what lives as long as the process: the libraries and the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def remembered_compositions() -> Iterator[None]:
    """Compose the files of each config once."""
    with remembered():
        yield


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the test runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cellstate(working_folder: Path, capfd: pytest.CaptureFixture[str]) -> Command:  # noqa: ARG001
    """Run a command line within this process, in an empty folder."""

    def run(*words: str) -> Answer:
        from cellstate.cli import dispatch

        capfd.readouterr()
        status = dispatch([str(word) for word in words])
        said = capfd.readouterr()
        return Answer(status, said.out, said.err)

    return run


@pytest.fixture
def train(cellstate: Command) -> Command:
    """Run ``cellstate train`` on the smallest pattern task."""
    return lambda *words: cellstate("train", "experiment=pattern", *TINY, *words)


def script(name: str) -> ModuleType:
    """Return a module of scripts/, which is no package; processes that are started find it too."""
    if (folder := str(Path(__file__).parents[1] / "scripts")) not in sys.path:
        sys.path.append(folder)
    return import_module(name)


def slow(*cases: Any) -> list[Any]:
    """Return cases of a parametrised test that ``make test`` leaves to ``make test-all``."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


def every_third(cases: list[Any], first: int) -> list[Any]:
    """Return all cases, of which ``make test`` runs every third: all of them in tests with ``first`` 0, 1 and 2."""
    return [case if number % 3 == first else slow(case)[0] for number, case in enumerate(cases)]


def hours(count: int) -> list[datetime]:
    """Return equally spaced times."""
    return [datetime(2026, 1, 1) + timedelta(hours=hour) for hour in range(count)]


def series_rows(count: int = 300) -> list[str]:
    """Return the lines of a good hourly series, ``time,load``."""
    return [f"{time},{(7 * hour * hour) % 24}.5" for hour, time in enumerate(hours(count))]


def write_csv(path: Path, rows: list[str], header: str = "time,load") -> Path:
    """Write a CSV file whose first row is line 2."""
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of the trainings that took place, one after the other."""
    from cellstate.training import run as experiment

    folders: list[str] = []
    fit = experiment.fit

    def logged(trainer: Any, *parts: Any) -> None:
        folders.append(Path(trainer.default_root_dir).name)
        fit(trainer, *parts)

    monkeypatch.setattr(experiment, "fit", logged)
    return folders
