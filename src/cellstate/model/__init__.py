"""LightningModules: a backbone, a head and a loss for each kind of task."""

from cellstate.model.classifier import Classifier
from cellstate.model.forecaster import Forecaster
from cellstate.model.language_model import LanguageModel
from cellstate.model.next_state import NextState
from cellstate.model.regressor import Regressor
from cellstate.model.sequence_model import SequenceModel, parameters_of

__all__ = ["Classifier", "Forecaster", "LanguageModel", "NextState", "Regressor", "SequenceModel", "parameters_of"]
