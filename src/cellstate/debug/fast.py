"""Does it run? One batch of each split, through to the report."""

from __future__ import annotations

from typing import ClassVar

from cellstate.debug.preset import Preset


class Fast(Preset):
    """One batch of training, validation and test, limited by ``conf/debug/fast.yaml``.

    All parts of a run are executed. At the end the command evaluates the checkpoint, as ``evaluate`` does.
    """

    name: ClassVar[str] = "fast"
