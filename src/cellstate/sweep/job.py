"""Run one job of a sweep in the process chosen by the launcher."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cellstate.config.compose import of_one_run, register_resolvers
from cellstate.errors import RequestError, warnings_as_lines
from cellstate.runs.discard import discard_unclaimed
from cellstate.runs.folder import LOCK, read_manifest, shortest
from cellstate.runs.lock import BusyError, Lock
from cellstate.runs.stopping import SIGNALS
from cellstate.runs.watching import PrunedError
from cellstate.runs.yaml_file import read_yaml
from cellstate.sweep.folder import Claim, SweepFolder
from cellstate.sweep.identity import job_key

TrainFunction = Callable[[DictConfig], object]


class SweepTask:
    """The function that a launcher calls for each job: starts, resumes or skips it, and records its result.

    Exceptions of a job are recorded and not raised, so that other jobs continue; only Ctrl-C is raised, if the sweep
    runs in the process of its command. It is pickled for other processes and machines, so it contains only plain
    values and ``task``.

    Args:
        task: trains one run in Hydra's output folder, as outside of a sweep.
        command: the words of the command line.
        verbose: let jobs print their usual output.
        full_error: print tracebacks.
    """

    def __init__(self, task: TrainFunction, command: Sequence[str], *, verbose: bool, full_error: bool) -> None:
        self.task, self.command, self.verbose, self.full_error = task, list(command), verbose, full_error
        self.process = os.getpid()
        self.by = f"{socket.gethostname()}-{self.process}-{secrets.token_hex(4)}"  # unique for each command

    def __call__(self, config: DictConfig) -> None:
        """Run one job."""
        register_resolvers()
        folder = Path(HydraConfig.get().runtime.output_dir)
        sweep = SweepFolder(folder.parent)
        try:
            with self.handling_signals() as signals, warnings_as_lines():  # in worker processes too
                claim = sweep.take(folder.name, self.by)
                if claim is not None:
                    self.attempt(config, sweep, claim, signals)
        finally:
            discard_unclaimed(folder)  # created by Hydra even for a rejected or skipped job

    def attempt(self, config: DictConfig, sweep: SweepFolder, claim: Claim, signals: Signals) -> None:
        """Work on a job, and always release it."""
        failure: Exception | None = None
        try:
            with signals.active():
                self.work(config, sweep.path / claim.row["folder"], claim.row["key"])
        except (BusyError, PrunedError):  # busy: `cellstate train run=FOLDER` is resuming it outside of the sweep
            pass
        except Exception as error:
            failure = error
            if self.full_error:
                traceback.print_exception(error)
        finally:
            sweep.release(claim, failure)

    def work(self, config: DictConfig, folder: Path, key: str) -> None:
        """Train a new run in ``folder``, or resume the existing one."""
        config.quiet = not self.verbose
        if not (folder / "manifest.json").exists():
            self.task(config)
        elif (folder / "checkpoints" / "last.ckpt").exists() or started(folder, key):
            from cellstate.training.resume import resume  # torch is loaded here

            # The config is that of the command: by the hash, the folder's is the same.
            of_one_run(config, HydraConfig.get().runtime.choices.get("experiment"))
            resume(shortest(folder), quiet=config.quiet, config=config)
        else:
            set_aside(folder)
            self.task(config)

    @contextmanager
    def handling_signals(self) -> Iterator[Signals]:
        """In a worker process, let Ctrl-C and SIGTERM end the job instead of the process.

        The launcher would treat the death of a process as a failure of all jobs. During training, the trainer handles
        the signals, saves, and raises KeyboardInterrupt. Between two jobs they are ignored, as the command has already
        recorded that no more jobs may be started.
        """
        signals = Signals()
        if os.getpid() == self.process or threading.current_thread() is not threading.main_thread():
            yield signals
            return
        sys.argv = self.command  # recorded in the manifest of the run
        for number in SIGNALS:
            signal.signal(number, signals.note)
        try:
            yield signals
        except KeyboardInterrupt as interruption:  # recorded in sweep.json
            if isinstance(interruption.__cause__, SystemExit):  # from a launcher that moves the job to another machine
                raise interruption.__cause__ from None


class Signals:
    """Signals to stop: raised while a job is trained, deferred while it is claimed and released."""

    def __init__(self) -> None:
        self._pending = self._active = False

    def note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle a signal."""
        self._pending = True
        if self._active:
            raise KeyboardInterrupt

    @contextmanager
    def active(self) -> Iterator[None]:
        """Raise KeyboardInterrupt for signals in the body, and for earlier ones."""
        self._active = True
        try:
            if self._pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._active = False


def started(folder: Path, key: str) -> bool:
    """Whether a run folder is complete enough to resume; a run killed during start-up may not be."""
    try:
        read_manifest(folder)
        values = read_yaml(folder / "config.yaml")
    except (OSError, RequestError):
        return False
    return isinstance(values, dict) and job_key(OmegaConf.create(values)) == key


def set_aside(folder: Path, into: str = ".begun") -> Path:
    """Move a run folder away, by default one of a run that was killed during start-up, and return its new path."""
    Lock(folder / LOCK).release()
    place = folder.parent / into
    place.mkdir(exist_ok=True)
    number = 1 + sum(path.name.startswith(f"{folder.name}.") for path in place.iterdir())
    return folder.rename(place / f"{folder.name}.{number}")
