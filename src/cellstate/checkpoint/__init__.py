"""Checkpoint files: format, content, and safe reading."""

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
    "restore_random_state",
    "verify",
    "write",
]
