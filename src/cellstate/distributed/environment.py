"""Who starts the processes of a run: torchrun, SLURM and the like, or cellstate itself on this machine."""

from __future__ import annotations

import os

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from typing_extensions import override

from cellstate.errors import RequestError

MOST_PER_CORE = 4  # processes; more would only wait for each other


class OneMachine(LightningEnvironment):
    """Lightning's environment of one machine, for the first process, with ``launcher.together`` starting the others.

    Lightning would start the command line again, word by word, for every process: another run folder and another sweep
    for each, and the whole script again where training was called from Python.
    """

    def __init__(self) -> None:
        super().__init__()
        self._port = find_free_network_port()  # of this run alone, whatever one before it has left in the environment

    @property
    @override
    def creates_processes_externally(self) -> bool:
        return True

    @property
    @override
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    @override
    def main_port(self) -> int:
        return self._port


def environment() -> OneMachine | None:
    """Return the environment to give to a Trainer; None where Lightning finds that of whoever started the processes."""
    return None if started_elsewhere() else OneMachine()


def started_elsewhere() -> bool:
    """Say whether torchrun, SLURM, LSF, MPI or a script of the user's own starts the processes.

    So it is in a process that ``launcher.together`` started, which is told its rank as torchrun would.
    """
    environments = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    return "LOCAL_RANK" in os.environ or any(environment.detect() for environment in environments)


def check_number(trainer: L.Trainer, key: str) -> L.Trainer:
    """Return ``trainer`` if this machine can hold as many processes as it wants.

    Raises:
        RequestError: there are far fewer cores; the line names ``key``.
    """
    cores = os.cpu_count() or 1
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.world_size > MOST_PER_CORE * cores and not started_elsewhere():
        raise RequestError(
            f"{key}={trainer.world_size}: this machine has {cores} cores; give {MOST_PER_CORE * cores} at most"
        )
    return trainer
