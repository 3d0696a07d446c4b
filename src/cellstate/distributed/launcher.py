"""Starting the other processes of a run on this machine with torch's elastic launcher, and ending them with this one.

The first process of a run stays the one that the user called, where a notebook shows its progress, a search watches it
and the caller gets its objects. So only the others are started, by ``start_processes``, the part of the launcher that
``torchrun`` starts its own with; each finds rank and address in its environment as ``torchrun`` sets them.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ParallelStrategy
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, RunProcsResult, start_processes
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from cellstate.distributed.environment import started_elsewhere
from cellstate.errors import RunError

T = TypeVar("T")

POLL = 0.1  # seconds between two looks at the other processes
PATIENCE = 60.0  # seconds for them to end by themselves; the launcher gives those of a lost one 30 to stop
GRACE = 1.0  # seconds for them to end where this process has failed
ARRIVAL = "CELLSTATE_ARRIVAL"  # the file that a process makes when all it needs is there, and the work begins

# With this process's own path, from the first import on: nothing is found in the working folder that is not found here.
START = (
    "import json, sys; job = json.load(open(sys.argv[1])); sys.path[:] = job.pop('path'); "
    "from cellstate.distributed.worker import main; main(**job)"
)


@contextmanager
def together(
    trainer: L.Trainer, work: Callable[..., Any], arguments: Mapping[str, Any], remedy: str = ""
) -> Iterator[None]:
    """Have the other processes of ``trainer`` call ``work(**arguments)`` while this one does its part inside.

    Does nothing where there is one process, or where somebody else starts them.

    Args:
        trainer: knows how many processes there are; they are connected when the part inside begins.
        work: a function of a module, which builds the same trainer.
        arguments: plain values.
        remedy: what the user can do if a process is lost; it stands behind the reason.

    Raises:
        RunError: another process ended early; the error holds the reason.
    """
    if trainer.world_size == 1 or started_elsewhere():
        if ARRIVAL in os.environ:
            Path(os.environ[ARRIVAL]).touch()
        yield
        return
    threads = torch.get_num_threads()
    with TemporaryDirectory(prefix="cellstate_") as folder:
        workers = Workers(trainer, work, arguments, Path(folder))
        torch.set_num_threads(workers.threads)
        try:
            workers.connect(remedy)
            yield
            wait([workers.ended], PATIENCE)
        except RuntimeError as error:
            disconnect()  # or the others would wait for this process
            if of_the_connection(str(error)) and (loss := workers.loss(PATIENCE)):
                raise RunError(loss + remedy) from error
            raise
        finally:
            disconnect()
            workers.end()
            torch.set_num_threads(threads)


class Workers:
    """The processes of ranks 1 and above. They end when this one does, however it ends (``worker.end_with``).

    A thread starts and watches them: in the main thread, the launcher would take the signals that are the run's own.
    They stand in sessions of their own, so that Ctrl-C reaches this process alone, which tells them where to stop.
    """

    def __init__(
        self, trainer: L.Trainer, work: Callable[..., Any], arguments: Mapping[str, Any], folder: Path
    ) -> None:
        assert isinstance(trainer.strategy, ParallelStrategy)
        self._strategy, self._world_size, self._folder = trainer.strategy, trainer.world_size, folder
        self.threads = max(1, torch.get_num_threads() // self._world_size)
        job = {
            "path": [entry for entry in sys.path if isinstance(entry, str)],  # Python looks at no others
            "parent": os.getpid(),
            "folder": str(folder),
            "work": f"{work.__module__}:{work.__qualname__}",
            "arguments": dict(arguments),
        }
        (folder / "job.json").write_text(json.dumps(job))
        self._leaving = threading.Event()
        self._variables = {rank: self._variables_of(rank + 1) for rank in range(self._world_size - 1)}
        self.ended = in_background(self._run)
        self.ended.add_done_callback(abort_if_failed)

    def _run(self) -> RunProcsResult | None:
        """Start the processes; return how they ended, None where they had to be ended."""
        with silent("torch.distributed.elastic"):
            context = start_processes(
                "cellstate",
                sys.executable,
                args=dict.fromkeys(self._variables, ("-P", "-c", START, str(self._folder / "job.json"))),
                envs=self._variables,
                logs_specs=DefaultLogsSpecs(str(self._folder)),
            )
            while (result := context.wait(0)) is None:
                if self._leaving.wait(POLL):
                    context.close(signal.SIGKILL)
                    return None
        return result

    def _variables_of(self, rank: int) -> dict[str, str]:
        environment = self._strategy.cluster_environment
        assert environment is not None
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self._world_size),
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "TORCHELASTIC_RUN_ID": "cellstate",
            ARRIVAL: str(self._folder / f"arrived_{rank}"),
            "OMP_NUM_THREADS": str(self.threads),
        }

    def connect(self, remedy: str) -> None:
        """Wait for all processes to begin, and connect them.

        torch waits for a process that was lost, and cannot be woken. So this waits for all of them first, and connects
        in a thread, for the moment in which one can still be lost.

        Raises:
            RunError: one of them was lost before.
        """
        arrivals = [Path(variables[ARRIVAL]) for variables in self._variables.values()]
        while not all(arrival.exists() for arrival in arrivals):
            if loss := self.loss(POLL):
                raise RunError(loss + remedy)
        connected = in_background(self._strategy.setup_environment)
        either: list[Future[Any]] = [connected, self.ended]
        wait(either, return_when=FIRST_COMPLETED)
        if not connected.done() and (loss := self.loss()):
            raise RunError(loss + remedy)
        connected.result()

    def loss(self, patience: float = 0.0) -> str:
        """Return why the processes ended early, waiting for that for so many seconds; empty where they did not."""
        wait([self.ended], patience)
        if not self.ended.done():
            return ""
        if error := self.ended.exception():
            return f"the other processes could not be started ({error})"
        result = self.ended.result()
        failures = [] if result is None else [(rank + 1, reason_of(end)) for rank, end in result.failures.items()]
        if not failures:
            return "the other processes ended early"
        rank, reason = min(failures, key=lambda failure: of_the_connection(failure[1]))  # one that began it
        return f"process {rank} of {self._world_size} ended early: {reason}"

    def end(self) -> None:
        """End those that do not end by themselves."""
        try:
            wait([self.ended], GRACE)
        finally:
            self._leaving.set()
            wait([self.ended])


def in_background(work: Callable[[], T]) -> Future[T]:
    """Do ``work`` in a thread that does not hold up the end of this process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def silent(name: str) -> Iterator[None]:
    """Keep what a logger and those below it say off the screen."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def abort_if_failed(ended: Future[RunProcsResult | None]) -> None:
    """Have this process wait no longer for one that was lost: NCCL would, where gloo raises an error by itself."""
    result = None if ended.exception() else ended.result()
    if result is not None and result.is_failed() and dist.group.WORLD is not None:
        dist.group.WORLD.abort()


def reason_of(failure: ProcessFailure) -> str:
    """Return in one line why a process ended: its own error where it left one (``worker.main``)."""
    said: Any = failure.error_file_data["message"]
    if isinstance(said, dict):
        return re.sub(r"^(RunError|RequestError): ", "", said["message"]).splitlines()[0]
    return f"by {failure.signal_name()}" if failure.exitcode < 0 else f"exit status {failure.exitcode}"


def of_the_connection(words: str) -> bool:
    """Say whether an error tells of another process that does not answer any more."""
    return re.search("gloo|nccl|tcpstore|connection|peer", words, re.IGNORECASE) is not None


def disconnect() -> None:
    """Leave the group of processes, if this one is in it."""
    if dist.is_initialized():
        dist.destroy_process_group()
