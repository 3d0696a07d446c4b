"""Recurrent networks from their equations, with hand-derived backward passes; weights convert both ways."""

from cellstate.backbone.transparent.conversion import fast, to_torch, transparent
from cellstate.backbone.transparent.layer import Layer
from cellstate.backbone.transparent.network import Transparent, TransparentGRU, TransparentLSTM, TransparentRNN

__all__ = [
    "Layer",
    "Transparent",
    "TransparentGRU",
    "TransparentLSTM",
    "TransparentRNN",
    "fast",
    "to_torch",
    "transparent",
]
