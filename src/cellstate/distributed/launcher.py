"""Start the other processes of a run on this machine with torch's elastic launcher, and end them with this one.

The first process is the one that the user started, so that notebooks show its progress, searches observe it and callers
get its objects. Only the others are started, with ``start_processes``, which ``torchrun`` also uses; each gets its rank
and address from the same environment variables as with ``torchrun``.
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

POLL = 0.1  # seconds between two checks of the other processes
PATIENCE = 60.0  # seconds for them to end; the launcher gives the others 30 if one is lost
GRACE = 1.0  # seconds for them to end if this process has failed
ARRIVAL = "CELLSTATE_ARRIVAL"  # the file that a process creates when it is ready

# Uses this process's import path from the first import on, without the working directory.
START = (
    "import json, sys; job = json.load(open(sys.argv[1])); sys.path[:] = job.pop('path'); "
    "from cellstate.distributed.worker import main; main(**job)"
)


@contextmanager
def together(
    trainer: L.Trainer, work: Callable[..., Any], arguments: Mapping[str, Any], remedy: str = ""
) -> Iterator[None]:
    """Let the other processes of ``trainer`` call ``work(**arguments)`` while this one runs the code inside.

    Does nothing with a single process or an external launcher.

    Args:
        trainer: determines the number of processes, which are connected when the code inside starts.
        work: a module-level function that builds the same trainer.
        arguments: plain values.
        remedy: what to do if a process is lost, appended to the reason.

    Raises:
        RunError: another process ended early; with the reason.
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
            disconnect()  # otherwise the others would wait for this process
            if of_the_connection(str(error)) and (loss := workers.loss(PATIENCE)):
                raise RunError(loss + remedy) from error
            raise
        finally:
            disconnect()
            workers.end()
            torch.set_num_threads(threads)


class Workers:
    """The processes of ranks 1 and above. They end when this one does (``worker.end_with``).

    A thread starts and monitors them, as the launcher would replace the signal handlers in the main thread. They have
    their own sessions, so that Ctrl-C only reaches this process, which coordinates the stop.
    """

    def __init__(
        self, trainer: L.Trainer, work: Callable[..., Any], arguments: Mapping[str, Any], folder: Path
    ) -> None:
        assert isinstance(trainer.strategy, ParallelStrategy)
        self._strategy, self._world_size, self._folder = trainer.strategy, trainer.world_size, folder
        self.threads = max(1, torch.get_num_threads() // self._world_size)
        job = {
            "path": [entry for entry in sys.path if isinstance(entry, str)],  # other entries are ignored
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
        """Start the processes and return their results; None if they were killed."""
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
        """Wait until all processes are ready, and connect them.

        torch waits for a lost process and cannot be interrupted. So this first waits for all of them, and connects in a
        thread, as one may still be lost meanwhile.

        Raises:
            RunError: a process was lost.
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
        """Return why the processes ended early, waiting up to ``patience`` seconds; empty if they did not."""
        wait([self.ended], patience)
        if not self.ended.done():
            return ""
        if error := self.ended.exception():
            return f"the other processes could not be started ({error})"
        result = self.ended.result()
        failures = [] if result is None else [(rank + 1, reason_of(end)) for rank, end in result.failures.items()]
        if not failures:
            return "the other processes ended early"
        rank, reason = min(failures, key=lambda failure: of_the_connection(failure[1]))  # the original failure
        return f"process {rank} of {self._world_size} ended early: {reason}"

    def end(self) -> None:
        """Kill the processes that do not end by themselves."""
        try:
            wait([self.ended], GRACE)
        finally:
            self._leaving.set()
            wait([self.ended])


def in_background(work: Callable[[], T]) -> Future[T]:
    """Run ``work`` in a daemon thread."""
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
    """Silence a logger and its children."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def abort_if_failed(ended: Future[RunProcsResult | None]) -> None:
    """Abort the process group if a process was lost: NCCL would wait for it, while gloo raises an error."""
    result = None if ended.exception() else ended.result()
    if result is not None and result.is_failed() and dist.group.WORLD is not None:
        dist.group.WORLD.abort()


def reason_of(failure: ProcessFailure) -> str:
    """Return in one line why a process ended: its own error if it recorded one (``worker.main``)."""
    message: Any = failure.error_file_data["message"]
    if isinstance(message, dict):
        return re.sub(r"^(RunError|RequestError): ", "", message["message"]).splitlines()[0]
    return f"by {failure.signal_name()}" if failure.exitcode < 0 else f"exit status {failure.exitcode}"


def of_the_connection(words: str) -> bool:
    """Return whether an error indicates that another process does not answer."""
    return re.search("gloo|nccl|tcpstore|connection|peer", words, re.IGNORECASE) is not None


def disconnect() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
