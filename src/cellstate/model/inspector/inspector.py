"""The questions of ``cellstate inspect`` to a model. Each has a default; a task overrides what only it can answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from cellstate.backbone import last_outputs
from cellstate.data.batch import Batch
from cellstate.errors import UnsupportedError
from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.reading import Reading, numbers_read, symbols_read

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.base import SequenceModel

PredictionKind = Literal["categorical", "normal", "values"]
"""What an output says: logits ``(B, V)`` of classes; means and standard deviations ``(B, ..., 2)``; or values, in units
of the training split's standard deviation."""
BehindNormalisation = tuple[Callable[[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class FileSequences:
    """Sequences of a user's file, as the model reads them.

    Attributes:
        batch: inputs and targets.
        keys: what to call each.
        own_answers: whether the targets are what the model itself says, as the file holds none.
    """

    batch: Batch
    keys: tuple[str, ...]
    own_answers: bool = True


@dataclass(frozen=True)
class FileText:
    """A user's text.

    Attributes:
        tokens: ``(N,)``.
        unknown: which of its symbols the model does not know, in words; empty if it knows all.
    """

    tokens: Tensor
    unknown: str = ""


class Inspector:
    """What is asked of one model. A subclass is named by the model's class: ``inspector_class = MyInspector``.

    Methods are called without gradients and with the model in evaluation mode.

    Args:
        model: which is inspected.
    """

    reads_text: ClassVar[bool] = False
    """Whether the model reads one long text, which is cut into pieces; then ``read_text`` and ``embed`` are used."""
    answers_every_step: ClassVar[bool] = False
    """Whether there is a target, and an output, at every step ``(B, T, ...)``, or one of the whole sequence."""
    loss_in_words: ClassVar[str] = "the model's own loss"
    """The loss whose gradient is followed, as a caption says it."""
    prediction_kind: PredictionKind | None = None
    """What an output says, which decides how far two of them are apart; None if the model does not say."""
    patch: int = 1
    """Steps of the sequence that one step of the network reads."""
    model: Any
    """Which is inspected; subclasses narrow the annotation to their own class."""

    def __init__(self, model: SequenceModel) -> None:
        self.model = model

    def reading(self, batch: Batch, row: int) -> Reading:
        """Return one row of a batch as the network reads it, a name for each of its steps."""
        read = row_of(batch, row)[0].cpu()
        kind = numbers_read if read.is_floating_point() else symbols_read
        return kind(self.model.spec, read)

    def answers(self, batch: Batch, row: int) -> Answers | None:  # noqa: ARG002
        """Return what the model would answer after each step of the network in one row; None if that is not known."""
        return None

    def last_prediction(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the prediction after each row's last valid step, ``(B, ...)``, as ``prediction_kind`` says."""
        output = self.model.compute_output(Batch(inputs, torch.empty(0), lengths))
        return last_outputs(output, lengths) if self.answers_every_step else output

    def behind_normalisation(self, windows: Tensor) -> BehindNormalisation | None:  # noqa: ARG002
        """Return the forecast as a function of normalised windows, and ``windows (B, W, F)`` so; None: no forecast.

        The function goes from ``(N, W, F)`` to ``(N, horizon, ...)``.
        """
        return None

    def read_sequences(self, data: SequenceData, path: str, most: int) -> FileSequences:  # noqa: ARG002
        """Return the sequences of a file, at most ``most`` of them; ``data`` says how its files are read.

        Raises:
            RequestError: the file cannot be read, or holds what the model does not know.
        """
        raise UnsupportedError(f"a {type(self.model).__name__}, which reads no file to inspect; leave input out")

    def read_text(self, path: str) -> FileText:  # noqa: ARG002
        """Return the text in a file.

        Raises:
            RequestError: it cannot be read.
        """
        raise UnsupportedError(f"a {type(self.model).__name__}, which reads no text; leave input out")

    def embed(self, tokens: Tensor) -> Tensor:
        """Return what the backbone reads of tokens ``(B, T)``, ``(B, T, F)``."""
        raise NotImplementedError(f"{type(self).__name__}.embed: a model that reads text says how")


def row_of(batch: Batch, row: int) -> Tensor:
    """Return one row of a batch without its padding, ``(1, T, ...)``."""
    stop = batch.inputs.shape[1] if batch.lengths is None else int(batch.lengths[row])
    return batch.inputs[row : row + 1, :stop]
