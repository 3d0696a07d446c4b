"""Which process this one is, among those of one machine that cellstate started itself."""

from __future__ import annotations

import os
import socket

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from typing_extensions import override


class OneMachine(ClusterEnvironment):
    """Tells Lightning the rank of this process, and where the first one is found.

    Lightning's own environment would have it start the command line again, word by word, for every process. That is
    another run folder and another sweep for each, and a whole script again where training was called from Python.
    """

    def __init__(self, rank: int = 0, port: int | None = None) -> None:
        super().__init__()
        self._local_rank, self._rank, self._world_size = rank, rank, 1
        self._port = port

    @property
    @override
    def creates_processes_externally(self) -> bool:
        return True  # ``siblings.together`` does, when all is known to be well

    @property
    @override
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    @override
    def main_port(self) -> int:
        if self._port is None:
            with socket.socket() as free:
                free.bind((self.main_address, 0))
                self._port = free.getsockname()[1]
        return self._port

    @staticmethod
    @override
    def detect() -> bool:
        return not started_elsewhere()

    @override
    def world_size(self) -> int:
        return self._world_size

    @override
    def set_world_size(self, size: int) -> None:
        self._world_size = size

    @override
    def global_rank(self) -> int:
        return self._rank

    @override
    def set_global_rank(self, rank: int) -> None:
        self._rank = rank
        rank_zero_only.rank = rank

    @override
    def local_rank(self) -> int:
        return self._local_rank

    @override
    def node_rank(self) -> int:
        return 0


def started_elsewhere() -> bool:
    """Say whether torchrun, SLURM, LSF, MPI or a script of the user's own starts the processes."""
    environments = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    return "LOCAL_RANK" in os.environ or any(environment.detect() for environment in environments)
