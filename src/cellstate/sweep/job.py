"""Running one job of a sweep, in the process that the launcher chose for it."""

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
    """What a launcher runs for each job: the job is begun, gone on with, or left alone, and its end is noted.

    Nothing that goes wrong in a job leaves it, so that the others go on; Ctrl-C does where the sweep runs in the very
    process of its command. It is sent to other processes and machines, so it holds plain values and ``task`` alone.

    Args:
        task: trains one run in the folder that Hydra says, as the command does outside of a sweep.
        command: the words of the command line.
        verbose: let jobs print what they print outside of a sweep.
        full_error: print the traceback of what goes wrong.
    """

    def __init__(self, task: TrainFunction, command: Sequence[str], *, verbose: bool, full_error: bool) -> None:
        self.task, self.command, self.verbose, self.full_error = task, list(command), verbose, full_error
        self.process = os.getpid()
        self.by = f"{socket.gethostname()}-{self.process}-{secrets.token_hex(4)}"  # a name that no other command has

    def __call__(self, config: DictConfig) -> None:
        """Run one job."""
        register_resolvers()
        folder = Path(HydraConfig.get().runtime.output_dir)
        sweep = SweepFolder(folder.parent)
        try:
            with self.heeding() as signals, warnings_as_lines():  # in this process too, if it is another one
                claim = sweep.take(folder.name, self.by)
                if claim is not None:
                    self.attempt(config, sweep, claim, signals)
        finally:
            discard_unclaimed(folder)  # which Hydra made, also for a job that was refused or needed nothing

    def attempt(self, config: DictConfig, sweep: SweepFolder, claim: Claim, signals: Signals) -> None:
        """Work on a job, and give it back whatever happens."""
        failure: Exception | None = None
        try:
            with signals.obeyed():
                self.work(config, sweep.path / claim.row["folder"], claim.row["key"])
        except (BusyError, PrunedError):  # busy: by `cellstate train run=FOLDER`, which takes no part in the sweep
            pass
        except Exception as error:
            failure = error
            if self.full_error:
                traceback.print_exception(error)
        finally:
            sweep.conclude(claim, failure)

    def work(self, config: DictConfig, folder: Path, key: str) -> None:
        """Train a new run in ``folder``, or go on with the one that it holds."""
        config.quiet = not self.verbose
        if not (folder / "manifest.json").exists():
            self.task(config)
        elif (folder / "checkpoints" / "last.ckpt").exists() or began(folder, key):
            from cellstate.training.resume import resume  # torch is loaded here

            # The config is that of the command: the hash says that the folder's is the same.
            of_one_run(config, HydraConfig.get().runtime.choices.get("experiment"))
            resume(shortest(folder), quiet=config.quiet, config=config)
        else:
            set_aside(folder)
            self.task(config)

    @contextmanager
    def heeding(self) -> Iterator[Signals]:
        """In a process that works for the command, have Ctrl-C and SIGTERM end the job, and not the process.

        The launcher would take the death of a process for a failure of all. Once training has begun, it takes the
        signals itself, saves, and passes them on as KeyboardInterrupt. Between two jobs they mean nothing: the command
        has told which jobs are not to be begun.
        """
        signals = Signals()
        if os.getpid() == self.process or threading.current_thread() is not threading.main_thread():
            yield signals
            return
        sys.argv = self.command  # what the manifest of the run tells of
        for number in SIGNALS:
            signal.signal(number, signals.note)
        try:
            yield signals
        except KeyboardInterrupt as interruption:  # of which the list of jobs tells
            if isinstance(interruption.__cause__, SystemExit):  # by a launcher that takes the job off this machine
                raise interruption.__cause__ from None


class Signals:
    """Signals to stop: obeyed while a job is worked on, noted while it is taken and given back."""

    def __init__(self) -> None:
        self._noted = self._obeyed = False

    def note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Take a signal."""
        self._noted = True
        if self._obeyed:
            raise KeyboardInterrupt

    @contextmanager
    def obeyed(self) -> Iterator[None]:
        """Obey them from now on, those that came before as well."""
        self._obeyed = True
        try:
            if self._noted:
                raise KeyboardInterrupt
            yield
        finally:
            self._obeyed = False


def began(folder: Path, key: str) -> bool:
    """Say whether a run folder holds all that a run begins with; one that was killed just then may not."""
    try:
        read_manifest(folder)
        values = read_yaml(folder / "config.yaml")
    except (OSError, RequestError):
        return False
    return isinstance(values, dict) and job_key(OmegaConf.create(values)) == key


def set_aside(folder: Path) -> Path:
    """Move away what is left of a run that was killed as it began, and return where to.

    Raises:
        BusyError: another process is working on it.
    """
    Lock(folder / LOCK).release()
    place = folder.parent / ".begun"
    place.mkdir(exist_ok=True)
    number = 1 + sum(path.name.startswith(f"{folder.name}.") for path in place.iterdir())
    return folder.rename(place / f"{folder.name}.{number}")
