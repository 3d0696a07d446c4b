"""LightningModules: a backbone, a head and a loss for each kind of task."""

from cellstate.model.classifier import Classifier
from cellstate.model.forecaster import Forecaster
from cellstate.model.language_model import LanguageModel
from cellstate.model.next_state import NextState
from cellstate.model.regressor import Regressor
from cellstate.model.sequence_model import SequenceModel
from cellstate.model.size import parameters_of, refuse_oversized

__all__ = [
    "Classifier",
    "Forecaster",
    "LanguageModel",
    "NextState",
    "Regressor",
    "SequenceModel",
    "parameters_of",
    "refuse_oversized",
]
