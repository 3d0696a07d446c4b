"""Does it run? One batch of everything, through to the report."""

from __future__ import annotations

from typing import ClassVar

from cellstate.debug.preset import Preset


class Fast(Preset):
    """One batch of training, validation and test, as ``conf/debug/fast.yaml`` limits them.

    All parts of a run have their turn. The command scores its checkpoint again at the end, as ``evaluate`` does.
    """

    name: ClassVar[str] = "fast"
