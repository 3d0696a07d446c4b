"""Analyses of a trained network: gates and states, gradient flow, memory, receptive fields and interpretable units."""

from cellstate.inspection.analysis.captured import Captured, capture, influence_on
from cellstate.inspection.analysis.characters import Characters, Following, follow, properties, properties_at
from cellstate.inspection.analysis.gradient_flow import GradientFlow, LayerFlow, LineFit, gradient_flow, loss_flow
from cellstate.inspection.analysis.memory_horizon import HalfMemory, MemoryCurve, influence, prediction_recall, recall
from cellstate.inspection.analysis.receptive_field import (
    ReceptiveField,
    ReceptiveFieldError,
    check_forecaster,
    receptive_field,
)
from cellstate.inspection.analysis.states import LayerStates, States, open_states
from cellstate.inspection.analysis.units import (
    Saturation,
    Units,
    describe_units,
    order_by_memory,
    saturation,
    time_constants,
)
from cellstate.inspection.analysis.walk import UnitStep, Walk, units_that_matter, walk_through
from cellstate.inspection.analysis.weights_file import load_plain

__all__ = [
    "Captured",
    "Characters",
    "Following",
    "GradientFlow",
    "HalfMemory",
    "LayerFlow",
    "LayerStates",
    "LineFit",
    "MemoryCurve",
    "ReceptiveField",
    "ReceptiveFieldError",
    "Saturation",
    "States",
    "UnitStep",
    "Units",
    "Walk",
    "capture",
    "check_forecaster",
    "describe_units",
    "follow",
    "gradient_flow",
    "influence",
    "influence_on",
    "load_plain",
    "loss_flow",
    "open_states",
    "order_by_memory",
    "prediction_recall",
    "properties",
    "properties_at",
    "recall",
    "receptive_field",
    "saturation",
    "time_constants",
    "units_that_matter",
    "walk_through",
]
