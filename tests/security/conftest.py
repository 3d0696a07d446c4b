"""What the hostile tests share: a checkpoint to change, a secret, and the one line that a refusal is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import TINY

import cellstate
from cellstate.errors import CellstateError

SECRET = "xyzzy-of-the-environment"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny run."""
    folder = tmp_path_factory.mktemp("good") / "run"
    return cellstate.train(["experiment=pattern", *TINY, f"hydra.run.dir={folder}"]).checkpoint


@pytest.fixture(scope="session")
def last(good: Path) -> Path:
    """The checkpoint that the same run would resume from."""
    return good.with_name("last.ckpt")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment variable, CELLSTATE_SECRET, that no hostile file may have printed or written."""
    monkeypatch.setenv("CELLSTATE_SECRET", SECRET)
    return SECRET


Refusal = Callable[[Callable[[], object]], str]


@pytest.fixture
def refusal(working_folder: Path) -> Refusal:
    """Return the one line with which something is refused; nothing has run, and the secret is not in it."""

    def of(attempt: Callable[[], object]) -> str:
        before = {path: path.stat().st_mtime_ns for path in working_folder.rglob("*")}
        with pytest.raises(CellstateError) as caught:
            attempt()
        (line,) = caught.value.problems
        assert SECRET not in line
        assert len(line) < 1000
        assert not (working_folder / "exploded").exists()
        assert {path: path.stat().st_mtime_ns for path in working_folder.rglob("*")} == before, "it wrote something"
        return " ".join(line.split())

    return of
