"""Support of ``cellstate inspect`` by a model, beyond the states of its network, and the defaults."""

from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.inspector import FileSequences, FileText, Inspector, PredictionKind
from cellstate.model.inspector.reading import Reading

__all__ = ["Answers", "FileSequences", "FileText", "Inspector", "PredictionKind", "Reading"]
