"""Debug presets for any experiment, selected by ``debug=NAME``."""

from cellstate.debug.fast import Fast
from cellstate.debug.overfit import Overfit
from cellstate.debug.preset import Preset
from cellstate.debug.profile import Profile

__all__ = ["Fast", "Overfit", "Preset", "Profile"]
