"""Which weights a run keeps, and when it stops, follow from what is declared of the metric."""

import pytest

import cellstate
from cellstate.errors import RequestError

WORDS = [
    "experiment=pattern", "data.train_size=256", "data.val_size=64", "data.test_size=32", "backbone.hidden_size=8",
    "trainer.max_epochs=8", "optimizer.lr=0.03", "report=false",
]  # fmt: skip


@pytest.mark.parametrize("key", ["checkpoint.monitor", "+checkpoint.monitor"])
def test_the_best_checkpoint_by_accuracy_is_the_one_of_the_highest(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    run = cellstate.train([*WORDS, f"{key}=val/accuracy", "callbacks.early_stopping=null", "hydra.run.dir=run"])
    accuracies = [row["val/accuracy"] for row in run.history]
    assert min(accuracies) < max(accuracies), "otherwise this test tells nothing"
    best = run.metrics["best"]
    assert (best["monitor"], best["value"]) == ("val/accuracy", max(accuracies))
    assert best["epoch"] == accuracies.index(max(accuracies))
    assert cellstate.evaluate(run.checkpoint, test=False).metrics["val"]["accuracy"] == max(accuracies)


def test_early_stopping_by_accuracy_waits_for_higher_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopping = "callbacks.early_stopping"
    run = cellstate.train([*WORDS, f"{stopping}.monitor=val/accuracy", f"{stopping}.patience=1", "hydra.run.dir=run"])
    accuracies = [row["val/accuracy"] for row in run.history]
    improved = [value > max(accuracies[:place], default=-1.0) for place, value in enumerate(accuracies)]
    assert all(improved[:-1]), "it goes on while the accuracy rises"
    assert len(accuracies) == 8 or not improved[-1]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["checkpoint.monitor=val/typo"], "checkpoint.monitor=val/typo: unknown metric"),
        (["callbacks.early_stopping.monitor=val/mae"], "callbacks.early_stopping.monitor=val/mae: unknown"),
        (["scheduler=plateau", "scheduler.monitor=val/f2"], "scheduler.monitor=val/f2: unknown metric"),
        (
            ["callbacks.early_stopping.monitor=val/f1", "callbacks.early_stopping.mode=min"],
            "callbacks.early_stopping.mode=min: higher is better for val/f1",
        ),
    ],
)
def test_a_monitor_that_cannot_work_is_refused_before_anything_is_written(tmp_path, monkeypatch, words, problem):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError) as caught:
        cellstate.train([*WORDS, *words, "hydra.run.dir=run"])
    (line,) = caught.value.problems
    assert problem in line
    assert not (tmp_path / "run").exists()
