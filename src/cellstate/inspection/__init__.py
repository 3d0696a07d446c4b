"""``cellstate inspect``: a trained network, opened on sequences of its data or of the user's own."""

from cellstate.inspection.inspecting import inspect, inspect_model
from cellstate.inspection.network import inspect_network
from cellstate.inspection.result import Inspection

__all__ = ["Inspection", "inspect", "inspect_model", "inspect_network"]
