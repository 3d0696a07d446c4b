"""A checkpoint that is none, is damaged, or holds more than numbers is refused in one line, and runs nothing."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import TINY, Command

import cellstate as package
from cellstate.errors import RequestError


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny run."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return package.train(["experiment=pattern", *TINY, f"hydra.run.dir={folder}"]).checkpoint


class Bomb:
    """Pickles as a call of os.system."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch exploded",)


def write_garbage(file: Path, good: Path) -> None:  # noqa: ARG001
    file.write_bytes(b"this is no checkpoint" * 100)


def write_nothing(file: Path, good: Path) -> None:  # noqa: ARG001
    file.write_bytes(b"")


def write_half(file: Path, good: Path) -> None:
    content = good.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def write_foreign(file: Path, good: Path) -> None:  # noqa: ARG001
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, file)


def write_tensor(file: Path, good: Path) -> None:  # noqa: ARG001
    torch.save(torch.zeros(3), file)


def write_pickle(file: Path, good: Path) -> None:  # noqa: ARG001
    file.write_bytes(pickle.dumps(Bomb()))


def write_bomb(file: Path, good: Path) -> None:
    torch.save({**torch.load(good, weights_only=True), "more": Bomb()}, file)


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (write_garbage, "not a checkpoint, or a damaged one"),
        (write_nothing, "not a checkpoint, or a damaged one"),
        (write_half, "not a checkpoint, or a damaged one"),
        (write_foreign, "a checkpoint, but not one of cellstate"),
        (write_tensor, "a checkpoint, but not one of cellstate"),
        (write_pickle, "not a checkpoint, or a damaged one"),
        (write_bomb, "holds more than numbers (posix.system), which is refused; nothing of it was run"),
    ],
)
def test_a_file_that_is_no_good_checkpoint_is_refused(
    cellstate: Command, good: Path, write: Callable[[Path, Path], None], complaint: str
) -> None:
    write(Path("bad.ckpt"), good)
    answer = cellstate("evaluate", "checkpoint=bad.ckpt")
    assert answer.status == 2
    (line,) = answer.errors
    assert line.startswith(f"cellstate: error: bad.ckpt: {complaint}")
    assert not Path("exploded").exists()


def test_a_checkpoint_that_is_not_there_is_named_with_the_nearest(cellstate: Command) -> None:
    Path("best.ckpt").write_bytes(b"")
    Path("empty").mkdir()
    for word, complaint in (
        ("checkpoint=bets.ckpt", "checkpoint=bets.ckpt: no such file; did you mean 'best.ckpt'?"),
        ("checkpoint=empty", "checkpoint=empty: the folder holds no checkpoints/best.ckpt"),
        ("checkpoint=null", "checkpoint: a value is needed, give checkpoint=FILE or checkpoint=RUN_FOLDER"),
        ("chekpoint=best.ckpt", "chekpoint: unknown key; did you mean 'checkpoint'?"),
        ("data.pth=x", "data.pth: unknown key; did you mean 'data.path'?"),
    ):
        answer = cellstate("evaluate", word)
        assert (answer.status, answer.errors) == (2, [f"cellstate: error: {complaint}"])


def change_target(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["config"]["backbone"]["_target_"] = "os.system"


def nest_target(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["config"]["data"]["pattern"] = {"_target_": "os.system", "command": "touch exploded"}


def add_argument(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["config"]["backbone"]["wheels"] = 4


def drop_model(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    del record["config"]["model"]


def drop_spec(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    del record["spec"]


def drop_weights(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    content["state_dict"].popitem()


def newer_format(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["format"] = 99


def huge_network(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["config"]["backbone"]["hidden_size"] = 10**12


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (change_target, "asks for backbone='os.system', which is none of"),
        (nest_target, "config of data holds more than plain values; it is refused"),
        (add_argument, "the checkpoint's model cannot be built from its record"),
        (drop_model, "its record is not complete (config); it was changed"),
        (drop_spec, "its record is not complete (spec); it was changed"),
        (drop_weights, "the checkpoint's model cannot be built from its record"),
        (newer_format, "format 99 is newer than this cellstate reads"),
        (huge_network, "the checkpoint's model cannot be built from its record"),
    ],
)
def test_a_record_that_was_tampered_with_is_refused(
    cellstate: Command, good: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], complaint: str
) -> None:
    content = torch.load(good, weights_only=True)
    change(content["cellstate"], content)
    torch.save(content, "changed.ckpt")
    answer = cellstate("evaluate", "checkpoint=changed.ckpt")
    assert answer.status == 2, answer.stderr
    (line,) = answer.errors
    assert complaint in line
    assert not Path("exploded").exists()
    if change is not nest_target:  # which is in the data, and a model is loaded without it
        with pytest.raises(RequestError):
            package.load("changed.ckpt")


def test_numbers_that_do_not_come_out_again_are_told(cellstate: Command, good: Path) -> None:
    content = torch.load(good, weights_only=True)
    content["cellstate"]["metrics"]["test"]["loss"] += 0.5
    torch.save(content, "changed.ckpt")
    answer = cellstate("evaluate", "checkpoint=changed.ckpt")
    assert answer.status == 1
    assert "reproduced: 7 of 8 metrics identical" in answer.stdout
    (line,) = answer.errors
    assert "1 metrics differ from what was recorded, such as test/loss" in line
