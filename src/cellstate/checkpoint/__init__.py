"""The checkpoint file: its format, safe reading, and building an experiment again from it."""

from cellstate.checkpoint.file import (
    AtomicCheckpointIO,
    DamagedError,
    ForeignFileError,
    find,
    keep,
    read,
    verify,
    write,
)
from cellstate.checkpoint.randomness import random_state, restore_random_state
from cellstate.checkpoint.rebuild import read_data, rebuild_data, rebuild_model
from cellstate.checkpoint.record import FORMAT, KEY, RANDOM

__all__ = [
    "FORMAT",
    "KEY",
    "RANDOM",
    "AtomicCheckpointIO",
    "DamagedError",
    "ForeignFileError",
    "find",
    "keep",
    "random_state",
    "read",
    "read_data",
    "rebuild_data",
    "rebuild_model",
    "restore_random_state",
    "verify",
    "write",
]
