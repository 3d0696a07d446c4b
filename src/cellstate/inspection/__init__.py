"""``cellstate inspect``: inspect a trained network on sequences of its data or of the user."""

from cellstate.inspection.inspecting import inspect, inspect_model
from cellstate.inspection.network import inspect_network
from cellstate.inspection.result import Inspection

__all__ = ["Inspection", "inspect", "inspect_model", "inspect_network"]
