"""A run that is killed again and again leaves what an undisturbed one leaves, entry by entry, wherever it is killed."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import script

kills = script("killed_runs")
Strike = kills.Strike

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

# Together they strike at every stage of an epoch, of a classifier, a forecaster and a model with carried state. Each
# is resumed at the beginning of an epoch, then within one or after another one was trained, and struck again.
WITNESSES = {
    "pattern": [("row", 1), ("row", 2), ("last.ckpt", 1), ("new epoch", 2), ("test step", 1)],
    "sine": [("best.ckpt", 2), ("validation step", 2), ("training step", 12), ("end of training", 1)],
    "averaged": [("row", 1), ("training step", 3)],
    "char_lm": [("row", 2), ("training step", 12), ("half a checkpoint", 3), ("previous.ckpt", 1), ("metrics.json", 1)],
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is left by the run of each case that nothing stops, trained once."""
    folder, known = tmp_path_factory.mktemp("undisturbed"), {}

    def contents(name: str) -> dict[str, Any]:
        if name not in known:
            kills.train(kills.SMALL[name], folder / name.replace(" ", "_"))
            known[name] = kills.contents(folder / name.replace(" ", "_"))
        return known[name]

    return contents


def strike(name: str, strikes: list[Any], folder: Path, undisturbed: Any) -> None:
    """Kill a run by all ``strikes``, resume it, and compare it."""
    assert kills.kill_and_resume(kills.SMALL[name], folder, strikes) == strikes
    assert kills.differences(undisturbed(name), folder) == []
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["status"], len(manifest["resumed"])) == ("completed", len(strikes))


@pytest.mark.parametrize("name", WITNESSES)
def test_a_run_killed_several_times_equals_the_undisturbed_one(name: str, tmp_path: Path, undisturbed: Any) -> None:
    strike(name, [Strike(*place) for place in WITNESSES[name]], tmp_path / "run", undisturbed)


def test_the_witnesses_strike_at_every_moment() -> None:
    assert {moment for places in WITNESSES.values() for moment, _ in places} == set(kills.MOMENTS)


def test_what_is_compared_tells_a_difference_of_one_bit(undisturbed: Any) -> None:
    whole = undisturbed("pattern")
    state = next(content[0] for name, content in whole.items() if " at step " in name)
    assert len(list(kills.entries(state))) > 500
    for place in ("state_dict", "optimizer_states", "loops", "callbacks", "cellstate_training", "PatternData"):
        assert any(entry.startswith(place) for entry, _ in kills.entries(state)), place
    weights = state["state_dict"]["head.weight"]
    changed = weights.clone()
    changed.view(-1)[0] = changed.view(-1)[0].nextafter(changed.view(-1)[0] + 1)
    other = {**state, "state_dict": {**state["state_dict"], "head.weight": changed}}
    assert kills.differing(state, other) == ["state_dict.head.weight"]


# ---------------------------------------------------------------------- every case, every moment


@pytest.mark.slow
@pytest.mark.parametrize("moment", kills.MOMENTS[: -len(kills.LATE)])
@pytest.mark.parametrize("name", [name for name in kills.SMALL if name != "processes"])
def test_killed_three_times_at_one_moment(name: str, moment: str, tmp_path: Path, undisturbed: Any) -> None:
    strike(name, [Strike(moment, 2 if moment == "training step" else 1)] * 3, tmp_path / "run", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in kills.SMALL if name != "processes"])
def test_killed_at_every_moment_in_turn(name: str, tmp_path: Path, undisturbed: Any) -> None:
    strike(name, [Strike(moment) for moment in ("new epoch", *kills.MOMENTS)], tmp_path / "run", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in kills.SMALL if name != "processes"])
def test_stopped_and_killed_in_turn(name: str, tmp_path: Path, undisturbed: Any) -> None:
    stop, kill = signal.SIGTERM, signal.SIGKILL
    strikes = [Strike("training step", count, by) for count, by in [(2, stop), (3, kill), (2, stop), (4, kill)]]
    kills.kill_and_resume(kills.SMALL[name], tmp_path / "run", [Strike("new epoch", 1, stop), *strikes])
    assert kills.differences(undisturbed(name), tmp_path / "run", saved_alike=False) == []


@pytest.mark.slow
def test_two_processes_killed_several_times_equal_undisturbed_ones(tmp_path: Path, undisturbed: Any) -> None:
    moments = ["training step", "row", "half a checkpoint", "new epoch", "end of training", "test step"]
    strike("processes", [Strike(moment) for moment in moments], tmp_path / "run", undisturbed)


# ---------------------------------------------------------------------- with a damaged disk besides


def test_a_run_killed_twice_whose_newest_checkpoint_is_damaged_ends_the_same(tmp_path: Path, undisturbed: Any) -> None:
    case, folder = kills.SMALL["char_lm"], tmp_path / "run"
    assert kills.train(case, folder, Strike("last.ckpt", 2))
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    assert not (folder / "metrics.json").exists()
    assert kills.train(case, folder, Strike("training step", 15), again=True)
    last = folder / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    last.unlink()
    last.write_bytes(content[: len(content) // 2])
    assert kills.train(case, folder, Strike("row", 1), again=True)
    kills.train(case, folder, again=True)
    assert kills.differences(undisturbed("char_lm"), folder) == []
