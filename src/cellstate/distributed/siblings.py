"""Starting the other processes of a run on this machine, watching them, and never leaving one behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch

from cellstate.distributed.environment import OneMachine, started_elsewhere
from cellstate.errors import RequestError, RunError

PATIENCE = 10.0  # seconds for this process to notice by itself that another one is gone
MOST_A_CORE = 4  # processes; more would only wait for each other
LEAVE = 60.0  # seconds for the others to end after this one
VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")  # that Lightning sets and leaves set

_here = OneMachine()  # in a process that ``worker`` began, its own rank


def environment() -> OneMachine | None:
    """Return what Lightning is to ask about ranks; None where somebody else started the processes, who knows better."""
    return None if started_elsewhere() else _here


def begin_as(rank: int, port: int | None) -> None:
    """Make this process that of a rank; None: of a port yet to be found."""
    global _here
    _here = OneMachine(rank, port)


def check_number(trainer: L.Trainer, key: str) -> L.Trainer:
    """Return ``trainer`` if this machine can hold as many processes as it wants.

    Raises:
        RequestError: there are far fewer cores; the line names ``key``.
    """
    cores = os.cpu_count() or 1
    if trainer.strategy.root_device.type == "cpu" and trainer.world_size > MOST_A_CORE * cores and environment():
        raise RequestError(
            f"{key}={trainer.world_size}: this machine has {cores} cores; give {MOST_A_CORE * cores} at most"
        )
    return trainer


@contextmanager
def together(
    trainer: L.Trainer,
    work: str,
    job: Mapping[str, Any],
    on_loss: Callable[[str], None] | None = None,
    remedy: str = "",
) -> Iterator[None]:
    """Have the other processes of ``trainer`` do ``work`` with ``job`` too, while this one does it inside.

    Does nothing where there is one process, or where somebody else starts them.

    Args:
        trainer: knows how many processes there are.
        work: a key of ``worker.WORK``.
        job: its arguments, as plain values.
        on_loss: called with a line before this process is ended because another one was lost, and it cannot go on.
        remedy: what the user can do then; it stands behind what is said.

    Raises:
        RunError: another process ended early; the error holds what it said.
    """
    here = environment()
    alone = trainer.world_size == 1 or here is None or here.global_rank() > 0
    if alone:
        yield
        return
    assert here is not None
    before = {name: os.environ.get(name) for name in VARIABLES}
    threads = torch.get_num_threads()
    siblings = Siblings(trainer.world_size, here.main_port, {"work": work, "job": dict(job)}, on_loss, remedy)
    torch.set_num_threads(siblings.threads)
    failed = True
    try:
        yield
        failed = False
    except (Exception, KeyboardInterrupt) as error:
        if is_of_the_connection(error) and (reason := siblings.lost(wait=PATIENCE)):
            raise RunError(reason) from error
        raise
    finally:
        siblings.leave(at_once=failed)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        begin_as(0, None)
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def ended_by(status: int) -> str:
    """Return in words how a process ended that said nothing."""
    return f"exit status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def is_of_the_connection(error: BaseException) -> bool:
    """Say whether an error tells of another process that does not answer any more."""
    words = "gloo|nccl|tcpstore|connection|peer"
    return isinstance(error, RuntimeError) and re.search(words, str(error), re.IGNORECASE) is not None


class Siblings:
    """The processes of ranks 1 and above.

    Each reads its job from a pipe that stays open: where it closes, the first process is gone, however it ended, and
    the sibling ends too. They stand in sessions of their own, so that Ctrl-C reaches the first process alone, which
    tells the others where to stop.
    """

    def __init__(
        self, world_size: int, port: int, job: dict[str, Any], on_loss: Callable[[str], None] | None, remedy: str
    ) -> None:
        self.threads = max(1, torch.get_num_threads() // world_size)
        self._on_loss, self._remedy = on_loss, remedy
        self._leaving = self._asked = False
        self._loss: str | None = None
        surroundings = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": os.pathsep.join(sys.path)}
        self._processes: list[subprocess.Popen[str]] = []
        for rank in range(1, world_size):
            process = subprocess.Popen(
                [sys.executable, "-m", "cellstate.distributed.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, env=surroundings, start_new_session=True,
            )  # fmt: skip
            self._processes.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps({**job, "rank": rank, "port": port, "threads": self.threads}) + "\n")
            process.stdin.flush()
        for rank, process in enumerate(self._processes, start=1):
            threading.Thread(target=self._watch, args=(rank, process), daemon=True).start()

    def _watch(self, rank: int, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as stderr:
            said = [line for line in stderr.read().splitlines() if line.strip()]
        status = process.wait()
        if self._leaving or status == 0:
            return
        words = said[-1].removeprefix("cellstate: error: ") if said else ended_by(status)
        self._loss = self._loss or f"process {rank} of {len(self._processes) + 1} ended early: {words}{self._remedy}"
        time.sleep(PATIENCE)  # gloo raises an error here by itself; NCCL, and a rendezvous, would wait
        if not (self._leaving or self._asked):
            if self._on_loss is not None:
                self._on_loss(self._loss)
            print(f"cellstate: error: {self._loss}", file=sys.stderr, flush=True)
            os._exit(1)

    def lost(self, wait: float) -> str | None:
        """Return what became of a sibling that ended early, waiting so many seconds to hear of one."""
        self._asked = True  # whoever asks goes on by itself
        until = time.monotonic() + wait
        while self._loss is None and time.monotonic() < until:
            time.sleep(0.05)
        return self._loss

    def leave(self, *, at_once: bool) -> None:
        """Wait for the siblings to end, or end them."""
        self._leaving = True
        until = time.monotonic() + (1.0 if at_once else LEAVE)
        for process in self._processes:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
