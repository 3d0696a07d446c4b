"""Presets on top of any experiment: does it run, can it learn, where does its time go. ``debug=NAME`` chooses one."""

from cellstate.debug.fast import Fast
from cellstate.debug.overfit import Overfit
from cellstate.debug.preset import Preset
from cellstate.debug.profile import Profile

__all__ = ["Fast", "Overfit", "Preset", "Profile"]
