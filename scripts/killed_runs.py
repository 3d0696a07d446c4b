"""Small runs, moments at which their process kills itself, and a comparison of the files of two runs.

Moments are events, not times: a process kills itself at the n-th occurrence. Processes are forked from one that has
loaded torch and cellstate, which takes a tenth of the time of new interpreters.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.strategies import Strategy

from cellstate import checkpoint, cli
from cellstate.callbacks import Checkpoints, History
from cellstate.commands import train as train_command
from cellstate.model import SequenceModel
from cellstate.training import resume as resuming

COMMON = ["report=false", "trainer.accelerator=cpu"]
QUIET = "quiet=true"
OWN = {"seconds", "time_elapsed", "written", "id"}  # differs between all runs: times and ids


@dataclass(frozen=True)
class Case:
    """A run: its command line, and a setup function of its process."""

    words: Sequence[str]
    prepare: Callable[[], None] | None = None


def steps_for_seconds() -> None:
    """Let ``trainer.max_time`` count a second per step, so that it ends a run at a known step."""
    check = Timer.on_train_batch_end

    def count(self: Any, *arguments: Any, **named_arguments: Any) -> None:
        self.counted = getattr(self, "counted", 0) + 1
        check(self, *arguments, **named_arguments)

    def elapsed(self: Any, stage: str = "train") -> float:  # noqa: ARG001
        return self._offset + getattr(self, "counted", 0)

    Timer.on_train_batch_end = count  # type: ignore[method-assign]
    Timer.time_elapsed = elapsed  # type: ignore[method-assign]


def on_a_terminal() -> None:
    """Let the progress display draw as on a terminal."""
    os.environ.update(FORCE_COLOR="1", TERM="xterm")


def tiny(*words: str) -> list[str]:
    """Return the command line of a run with five batches an epoch."""
    sizes = ("data.train_size=320", "data.length=20", "data.val_size=64", "data.test_size=64")
    return ["experiment=temporal_order", *sizes, "backbone.hidden_size=8", *words]


def text(*words: str) -> list[str]:
    """Return the command line of a language model that carries its state from batch to batch."""
    sizes = ("data.split=[0.8,0.1,0.1]", "trainer.limit_val_batches=3", "trainer.limit_test_batches=3")
    return ["experiment=char_lm", *sizes, "data.steps=16", "backbone.hidden_size=16", "model.dropout=0.3", *words]


# One or two seconds each: dropout, carried state, schedules by steps and by results, all ways to validate and to end.
SMALL = {
    "pattern": Case(["experiment=pattern_stacked", "data.train_size=640", "trainer.max_epochs=5", QUIET]),
    "sine": Case(
        [
            *("experiment=sine", "data.train_size=640", "data.val_size=64", "data.test_size=64", QUIET),
            *("trainer.max_epochs=5", "scheduler=warmup_cosine", "backbone.hidden_size=16"),
        ]
    ),
    "char_lm": Case(text("trainer.max_epochs=5", "trainer.limit_train_batches=10", QUIET)),
    "bar": Case(tiny("trainer.max_epochs=5", "model.dropout=0.2"), on_a_terminal),
    "lines": Case(tiny("trainer.max_epochs=5", "trainer.accumulate_grad_batches=2", "data.fresh=true")),
    "steps saved": Case(
        tiny("trainer.max_epochs=5", "checkpoint.every_n_steps=2", "trainer.accumulate_grad_batches=2", QUIET)
    ),
    "plateau": Case(
        tiny(
            *("trainer.max_epochs=4", "trainer.val_check_interval=2", QUIET),
            *("scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.1"),
        )
    ),
    "early": Case(
        tiny(
            *("trainer.max_epochs=9", "trainer.val_check_interval=0.5", QUIET),
            *("callbacks.early_stopping.patience=1", "optimizer.lr=0.05"),
        )
    ),
    "sparse": Case(tiny("trainer.max_epochs=5", "trainer.check_val_every_n_epoch=2", QUIET)),
    "series": Case(
        [
            *("experiment=series", "trainer.max_steps=50", "trainer.val_check_interval=12", QUIET),
            "backbone.hidden_size=16",
        ]
    ),
    "averaged": Case(  # weights, of two networks with closed forms, which stop early
        [
            *("experiment=series", "trainer.max_steps=60", "trainer.val_check_interval=12", "backbone.hidden_size=8"),
            *("callbacks=weight_averaging", "callbacks.early_stopping.patience=3", "ensemble=2", QUIET),
            "optimizer.lr=0.02",
        ]
    ),
    "averaged text": Case(
        text(
            *("callbacks=weight_averaging", "trainer.max_epochs=3", "trainer.limit_train_batches=10", QUIET),
            *("model.tied=true", "model.embedding_size=16", "trainer.accumulate_grad_batches=2"),
        )
    ),
    "across": Case(
        tiny("trainer.max_steps=17", "trainer.val_check_interval=4", "trainer.check_val_every_n_epoch=null", QUIET)
    ),
    "time": Case(tiny("trainer.max_time=00:00:00:18", "trainer.max_epochs=-1", QUIET), steps_for_seconds),
    "processes": Case(  # two, each with its own dropout and streams
        text("trainer=ddp_cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=20", QUIET)
    ),
}


# ---------------------------------------------------------------------- the killed process


@dataclass(frozen=True)
class Strike:
    """Kill the process at the ``count``-th occurrence of ``moment``."""

    moment: str
    count: int = 1
    by: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.moment} {self.count}"


def always(*_: Any) -> bool:
    """Count every call."""
    return True


def named(*names: str) -> Callable[..., bool]:
    """Count the files moved to one of these names."""

    def counts(draft: Path, target: Path) -> bool:  # noqa: ARG001
        return Path(target).name in names

    return counts


def in_fit(strategy: Strategy, *_: Any) -> bool:
    """Count calls during the fit."""
    module = strategy.lightning_module
    return module is not None and module.trainer.state.fn == "fit"


def cut(draft: Path, target: Path) -> None:  # noqa: ARG001
    """Truncate a file to half its size."""
    os.truncate(draft, draft.stat().st_size // 2)


# Moment -> owner and name of the function, which calls count, what to do instead of the call (None: the call itself).
PLACES: dict[str, tuple[Any, str, Callable[..., bool], Callable[..., None] | None]] = {
    "training step": (SequenceModel, "training_step", always, None),
    "validation step": (Strategy, "validation_step", in_fit, None),
    "row": (History, "add", always, None),
    "best.ckpt": (Path, "replace", named("best.ckpt"), None),
    "half a checkpoint": (Path, "replace", named("best.ckpt", "last.ckpt"), cut),
    "last.ckpt": (Path, "replace", named("last.ckpt"), None),
    "previous.ckpt": (Path, "replace", named("previous.ckpt"), None),
    "new epoch": (Checkpoints, "on_train_epoch_start", always, None),
    "end of training": (Checkpoints, "on_train_end", always, None),
    "test step": (SequenceModel, "test_step", always, None),
    "metrics.json": (Path, "replace", named("metrics.json"), None),
}
MOMENTS = tuple(PLACES)
LATE = MOMENTS[-3:]  # these occur once in a run, in this order


def arm(strike: Strike) -> None:
    """Let this process kill itself at a moment."""
    owner, name, counts, halfway = PLACES[strike.moment]
    original, calls = getattr(owner, name), 0

    @wraps(original)
    def call(*arguments: Any, **named_arguments: Any) -> Any:
        nonlocal calls
        counted = counts(*arguments)
        calls += counted
        struck = counted and calls == strike.count
        if struck and halfway is not None:
            halfway(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        done = original(*arguments, **named_arguments)
        if struck:
            os.kill(os.getpid(), strike.by)
        return done

    setattr(owner, name, call)


def keep_states(states: Path) -> None:
    """Keep a copy of every ``last.ckpt``."""
    states.mkdir(exist_ok=True)
    replace = Path.replace

    def keeping(draft: Path, target: Path) -> Path:
        done = replace(draft, target)
        if Path(target).name == "last.ckpt":
            (states / f"{sum(1 for _ in states.iterdir()):04}.ckpt").hardlink_to(target)
        return done

    Path.replace = keeping  # type: ignore[assignment, method-assign]


def work(words: Sequence[str], folder: Path, strike: Strike | None, prepare: Callable[[], None] | None) -> None:
    """Run ``cellstate train WORDS`` in this process."""
    os.chdir(folder.parent)
    said = os.open(said_by(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    keep_states(states_of(folder))
    if prepare is not None:
        prepare()
    if strike is not None:
        arm(strike)
    cli.main(["train", *words])


def said_by(folder: Path) -> Path:
    """Return the file with the output of the latest process of a run."""
    return folder.with_name(f"{folder.name}.said")


def states_of(folder: Path) -> Path:
    """Return the folder with all ``last.ckpt`` of a run."""
    return folder.with_name(f"{folder.name}.states")


# ---------------------------------------------------------------------- runs


def train(case: Case, folder: Path, strike: Strike | None = None, *, again: bool = False) -> bool:
    """Run ``cellstate train`` in a new process until it ends; return whether a strike killed it.

    Processes are forked from one that has loaded torch and cellstate.

    Args:
        case: the run.
        folder: the run folder.
        strike: when to kill the process; None: never.
        again: resume the run in the folder.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if again:
        words = [f"run={folder.name}", *({QUIET} & set(case.words))]
    else:
        words = [*case.words, *COMMON, f"hydra.run.dir={folder.name}"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([resuming.__name__, train_command.__name__])  # including torch and Lightning
    child = context.Process(target=work, args=(words, folder, strike, case.prepare))
    child.start()
    child.join()
    status = child.exitcode
    child.close()
    struck = strike is not None and status == (1 if strike.by == signal.SIGTERM else -signal.SIGKILL)
    if status and not struck:
        raise RuntimeError(f"cellstate train {' '.join(words)}: {said_by(folder).read_text()}")
    return struck


def kill_and_resume(case: Case, folder: Path, strikes: Sequence[Strike]) -> list[Strike]:
    """Train with one strike after the other, resuming until the run is completed; return the strikes that occurred."""
    struck: list[Strike] = []
    for strike in strikes:
        if not train(case, folder, strike, again=(folder / "manifest.json").exists()):
            return struck  # the moment was after the end of the run
        struck.append(strike)
    train(case, folder, again=(folder / "manifest.json").exists())
    return struck


# ---------------------------------------------------------------------- comparison


def entries(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a checkpoint or JSON file with its path, except for times."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key not in OWN:
                yield from entries(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        yield f"{place} (length)", len(value)
        for number, part in enumerate(value):
            yield from entries(part, f"{place}[{number}]")
    else:
        yield place, value


def same(one: Any, other: Any) -> bool:
    """Return whether two entries are bit-identical."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def differing(one: Any, other: Any) -> list[str]:
    """Return the paths at which two nested values differ."""
    ones, others = dict(entries(one)), dict(entries(other))
    missing = object()
    return [place for place in {**ones, **others} if not same(ones.get(place, missing), others.get(place, missing))]


def contents(folder: Path) -> dict[str, Any]:
    """Return the results of a run by name, and every ``last.ckpt`` by step and stage."""
    found: dict[str, Any] = {
        name: checkpoint.read(folder / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt")
    }
    for file in states_of(folder).glob("*.ckpt"):
        state = checkpoint.read(file)
        record = state[checkpoint.KEY]
        stage = ("trained, " if record["finished"] else "") + ("scored" if record["metrics"] else "not scored")
        found.setdefault(f"last.ckpt at step {record['step']} ({stage})", []).append(state)
    with (folder / "metrics.csv").open() as file:
        found["metrics.csv"] = list(csv.DictReader(file))
    found["metrics.json"] = json.loads((folder / "metrics.json").read_text())
    found["files"] = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return found


def differences(whole: Mapping[str, Any], folder: Path, *, saved_alike: bool = True) -> list[str]:
    """Return the differences of a run from an uninterrupted one.

    Args:
        whole: the ``contents`` of that one.
        folder: the run that is compared.
        saved_alike: whether it was saved at the same steps, as it is where it was killed; where it was told to stop,
            it is saved at other ones too. A state that was written more than once must be the same each time.
    """
    found = contents(folder)
    places: list[str] = []
    for name in {**whole, **found}:
        one, other = whole.get(name), found.get(name)
        if " at step " not in name:
            places += [f"{name}: {place}" for place in differing(one, other)]
        elif one and other:
            places += [f"{name}: {place}" for state in other for place in differing(one[0], state)]
        elif saved_alike:
            places.append(f"{name}: saved by one of the two alone")
    return places
