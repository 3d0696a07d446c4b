"""The environment of a distributed run: an external launcher (torchrun, SLURM, ...), or cellstate on this machine."""

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

MOST_PER_CORE = 4  # processes


class OneMachine(LightningEnvironment):
    """Lightning's single-machine environment for the first process; ``launcher.together`` starts the others.

    Lightning would run the same command line for every process, with another run folder and sweep for each, or the
    entire script if training was called from Python.
    """

    def __init__(self) -> None:
        super().__init__()
        self._port = find_free_network_port()  # not that of an earlier run in the environment

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
    """Return the environment for a Trainer; None if an external launcher provides it."""
    return None if started_elsewhere() else OneMachine()


def started_elsewhere() -> bool:
    """Return whether torchrun, SLURM, LSF, MPI or a user's script starts the processes.

    Also True in processes started by ``launcher.together``, which sets the variables of torchrun.
    """
    environments = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    return "LOCAL_RANK" in os.environ or any(environment.detect() for environment in environments)


def check_number(trainer: L.Trainer, key: str) -> L.Trainer:
    """Return ``trainer`` if this machine has enough cores for its processes.

    Raises:
        RequestError: too many processes; names ``key``.
    """
    cores = os.cpu_count() or 1
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.world_size > MOST_PER_CORE * cores and not started_elsewhere():
        raise RequestError(
            f"{key}={trainer.world_size}: this machine has {cores} cores; use at most {MOST_PER_CORE * cores}"
        )
    return trainer
