"""Distributed runs: starting the processes and communicating between them."""

from cellstate.distributed.agreement import Agreement
from cellstate.distributed.environment import check_number, environment
from cellstate.distributed.exchange import gather, joined, on_first, own_of, portable, share_of, total_world
from cellstate.distributed.launcher import together

__all__ = [
    "Agreement",
    "check_number",
    "environment",
    "gather",
    "joined",
    "on_first",
    "own_of",
    "portable",
    "share_of",
    "together",
    "total_world",
]
