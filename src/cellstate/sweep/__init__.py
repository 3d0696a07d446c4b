"""Sweeps: many runs from one command in one folder, each executed once. Imports nothing heavy."""

from cellstate.sweep.folder import SweepFolder
from cellstate.sweep.grid import GridSweeper
from cellstate.sweep.sweeper import JobSweeper

__all__ = ["GridSweeper", "JobSweeper", "SweepFolder"]
