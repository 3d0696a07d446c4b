"""Backbones: pure torch networks that map a sequence of inputs to a sequence of outputs and a state."""

from cellstate.backbone.contract import Backbone, State, detach, last_outputs, reset_rows
from cellstate.backbone.evaluating import evaluating
from cellstate.backbone.recurrent import GRU, LSTM, RNN
from cellstate.backbone.transparent import TransparentGRU, TransparentLSTM, TransparentRNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Backbone",
    "State",
    "TransparentGRU",
    "TransparentLSTM",
    "TransparentRNN",
    "detach",
    "evaluating",
    "last_outputs",
    "reset_rows",
]
