"""The benchmark's figure is that of a run as users have it."""

import importlib.util
import sys
from pathlib import Path

import pytest
from tests.conftest import TINY

import cellstate

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


@pytest.fixture
def benchmark(monkeypatch):
    """The script, under a name by which a config finds its stopwatch."""
    spec = importlib.util.spec_from_file_location("benchmark_of_a_step", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_of_a_step", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("working_folder")
def test_what_is_timed_has_every_callback_of_a_run(benchmark):
    own = []

    class Onlooker(benchmark.L.Callback):
        def on_fit_start(self, trainer, pl_module):  # noqa: ARG002
            own.extend(type(callback) for callback in trainer.callbacks if callback is not self)

    benchmark.Onlooker = Onlooker
    words = [*TINY, "+callbacks.onlooker._target_=benchmark_of_a_step.Onlooker", "hydra.run.dir=run"]
    cellstate.train(words, quiet=False)
    watch = benchmark.under_cellstate(epochs=1, hidden_size=8)
    assert [type(callback) for callback in watch.others] == own
    assert len(watch.epochs) == 1


def test_both_sides_take_as_many_steps(benchmark, capsys, monkeypatch):
    """Of 8,000 sequences in batches of 64, an epoch is 125 steps: 130 steps are two epochs, after two to warm up."""
    taken = []
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--steps", "130", "--rounds", "1", "--hidden-size", "8"])
    for name in ("bare_loop", "under_cellstate"):
        timed = getattr(benchmark, name)
        monkeypatch.setattr(benchmark, name, lambda *given, timed=timed: taken.append(timed(*given)) or taken[-1])
    benchmark.main()
    bare, watch = taken
    assert len(bare) == len(watch.epochs) == 2 + benchmark.WARM_UP
    assert "(1 rounds of 250 steps)" in capsys.readouterr().out
