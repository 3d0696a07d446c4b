"""LightningModules: a backbone, a head and a loss for each task."""

from cellstate.model.base import SequenceModel
from cellstate.model.classification.convolutional import ConvolutionalClassifier
from cellstate.model.classification.model import Classifier
from cellstate.model.forecasting.model import Forecaster
from cellstate.model.language.model import LanguageModel
from cellstate.model.next_state.model import NextState
from cellstate.model.regression.model import Regressor
from cellstate.model.size import parameters_of, refuse_oversized

__all__ = [
    "Classifier",
    "ConvolutionalClassifier",
    "Forecaster",
    "LanguageModel",
    "NextState",
    "Regressor",
    "SequenceModel",
    "parameters_of",
    "refuse_oversized",
]
