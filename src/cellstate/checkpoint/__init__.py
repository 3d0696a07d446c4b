"""The checkpoint file: its format, safe reading, and building an experiment again from it."""

from cellstate.checkpoint.file import FORMAT, KEY, AtomicCheckpointIO, find, read, write
from cellstate.checkpoint.randomness import random_state, restore_random_state
from cellstate.checkpoint.rebuild import rebuild_data, rebuild_model

__all__ = [
    "FORMAT",
    "KEY",
    "AtomicCheckpointIO",
    "find",
    "random_state",
    "read",
    "rebuild_data",
    "rebuild_model",
    "restore_random_state",
    "write",
]
