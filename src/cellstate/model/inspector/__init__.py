"""What ``cellstate inspect`` asks of a model beyond the states of its network, and how it is answered by default."""

from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.inspector import FileSequences, FileText, Inspector, PredictionKind
from cellstate.model.inspector.reading import Reading

__all__ = ["Answers", "FileSequences", "FileText", "Inspector", "PredictionKind", "Reading"]
