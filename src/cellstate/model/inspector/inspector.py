"""The interface between ``cellstate inspect`` and a model, with defaults that tasks override."""

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
"""The meaning of an output: logits ``(B, V)`` of classes; means and standard deviations ``(B, ..., 2)``; or values, in
units of the standard deviation of the training split."""
BehindNormalisation = tuple[Callable[[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class FileSequences:
    """Sequences of a user's file, as inputs of the model.

    Attributes:
        batch: inputs and targets.
        keys: the name of each.
        own_answers: whether the targets are the model's own predictions, as the file has none.
    """

    batch: Batch
    keys: tuple[str, ...]
    own_answers: bool = True


@dataclass(frozen=True)
class FileText:
    """A user's text.

    Attributes:
        tokens: ``(N,)``.
        unknown: description of symbols that the model does not know; empty if it knows all.
    """

    tokens: Tensor
    unknown: str = ""


class Inspector:
    """Inspects one model. The model's class names the subclass to use: ``inspector_class = MyInspector``.

    Methods are called without gradients and with the model in evaluation mode.

    Args:
        model: the model to inspect.
    """

    reads_text: ClassVar[bool] = False
    """Whether the model reads one long text, cut into pieces; then ``read_text`` and ``embed`` are used."""
    answers_every_step: ClassVar[bool] = False
    """Whether there is a target and an output at every step ``(B, T, ...)``, instead of one per sequence."""
    loss_in_words: ClassVar[str] = "the model's own loss"
    """The loss whose gradient is computed, for captions."""
    prediction_kind: PredictionKind | None = None
    """The meaning of an output, which determines the distance between two of them; None if undefined."""
    patch: int = 1
    """Steps of the sequence per step of the network."""
    model: Any
    """The model to inspect; subclasses narrow the annotation to their class."""

    def __init__(self, model: SequenceModel) -> None:
        self.model = model

    def reading(self, batch: Batch, row: int) -> Reading:
        """Return one row of a batch as read by the network, with a name for each of its steps."""
        read = row_of(batch, row)[0].cpu()
        kind = numbers_read if read.is_floating_point() else symbols_read
        return kind(self.model.spec, read)

    def answers(self, batch: Batch, row: int) -> Answers | None:  # noqa: ARG002
        """Return the answers after each step of the network in one row; None if unsupported."""
        return None

    def last_prediction(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the prediction after each row's last valid step, ``(B, ...)``, in the form of ``prediction_kind``."""
        output = self.model.compute_output(Batch(inputs, torch.empty(0), lengths))
        return last_outputs(output, lengths) if self.answers_every_step else output

    def behind_normalisation(self, windows: Tensor) -> BehindNormalisation | None:  # noqa: ARG002
        """Return the forecast as a function of normalised windows, and the normalised ``windows (B, W, F)``.

        The function maps ``(N, W, F)`` to ``(N, horizon, ...)``. None if the model does not forecast.
        """
        return None

    def read_sequences(self, data: SequenceData, path: str, most: int) -> FileSequences:  # noqa: ARG002
        """Return the sequences of a file, at most ``most`` of them; ``data`` defines how files are read.

        Raises:
            RequestError: the file cannot be read, or contains symbols or values that the model does not know.
        """
        raise UnsupportedError(f"a {type(self.model).__name__}, which cannot inspect a file; omit input")

    def read_text(self, path: str) -> FileText:  # noqa: ARG002
        """Return the text in a file.

        Raises:
            RequestError: it cannot be read.
        """
        raise UnsupportedError(f"a {type(self.model).__name__}, which does not read text; omit input")

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the inputs of the backbone ``(B, T, F)`` for tokens ``(B, T)``."""
        raise NotImplementedError(f"{type(self).__name__}.embed must be implemented for a model that reads text")


def row_of(batch: Batch, row: int) -> Tensor:
    """Return one row of a batch without its padding, ``(1, T, ...)``."""
    stop = batch.inputs.shape[1] if batch.lengths is None else int(batch.lengths[row])
    return batch.inputs[row : row + 1, :stop]
