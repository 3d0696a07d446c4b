"""Next-state prediction: a distribution over the next state after every step of independent sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from cellstate.config.types import PositiveInt, Probability
from cellstate.data.batch import UNKNOWN, DataSpec
from cellstate.errors import RequestError, did_you_mean
from cellstate.metrics.headline import Headline
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory
from cellstate.model.inputs import predicting
from cellstate.model.next_state import prediction
from cellstate.model.next_state.inspector import NextStateInspector
from cellstate.model.tokens import TokenModel

if TYPE_CHECKING:
    import polars as pl

    from cellstate.data.datamodule import SequenceData


class NextState(TokenModel):
    """Predicts the next state at every position of a sequence; every sequence starts from the initial state.

    Args:
        spec: the vocabulary of the predicted states, and those of the input features if different.
        backbone: called with ``input_size``, the sum of the embedding sizes.
        embedding_size: width of the embedding of a state; for several features one width each, or the same for all.
        dropout: on the embedded states and the backbone's outputs, during training.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    figures = "cellstate.model.next_state.figures"
    headline = Headline(
        "loss",
        "cross-entropy, nats per state",
        loss_unit="nats per state",
        further=(("accuracy", "accuracy"),),
    )
    inspector_class = NextStateInspector

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        embedding_size: PositiveInt | Annotated[Sequence[PositiveInt], Field(min_length=1)] = 32,
        dropout: Probability = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(spec, optimizer, scheduler)
        self.features = spec.features or (spec.vocabulary,)  # vocabulary of each input feature
        sizes = widths(embedding_size, len(self.features))
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(symbols), size) for symbols, size in zip(self.features, sizes, strict=True)
        )
        self.backbone = backbone(input_size=sum(sizes))
        if self.backbone.bidirectional:
            raise RequestError("backbone.bidirectional=true: the model must not see the next state; set it to false")
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.output_size, len(spec.vocabulary))

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits ``(B, T, V)`` of the next state after each step of ``inputs``.

        Args:
            inputs: indices ``(B, T)``, or ``(B, T, K)`` for K features.
            lengths: valid steps of each row ``(B,)``; logits beyond them are meaningless.
        """
        features = inputs.unsqueeze(-1) if inputs.ndim == 2 else inputs
        embedded = [embedding(features[..., number]) for number, embedding in enumerate(self.embeddings)]
        outputs, _ = self.backbone(self.dropout(torch.cat(embedded, dim=-1)), lengths=lengths)
        return self.head(self.dropout(outputs))

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:
        """Return the likeliest next state of each sequence and the probability of every state, by line or number."""
        return prediction.predict_file(self, data, path)

    # ------------------------------------------------------------------ use

    @predicting
    def predict(self, sequences: Any, *, every_step: bool = False) -> dict[str, Any]:
        """Predict the next state of each sequence.

        Args:
            sequences: one sequence of states (``["rain", "sun"]``, or ``"rain sun"``), or a list of such lists, of any
                lengths. With several features a step is a tuple with one state of each.
            every_step: predict after every step, not only the last.

        Returns:
            ``states (B,)``, the likeliest next state of each sequence, and ``probabilities (B, V)`` of all states, in
            the order of ``vocabulary (V,)``. The symbol for unknown states is excluded. With
            ``every_step`` states and probabilities are lists with an array for each sequence, ``(T,)`` and ``(T, V)``.

        Raises:
            RequestError: a state is unknown, a sequence is empty, or the nesting is invalid.
        """
        rows = [self.encode(sequence, number) for number, sequence in enumerate(as_list(sequences, len(self.features)))]
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        inputs = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        vocabulary = np.asarray(self.spec.vocabulary)
        known = vocabulary != UNKNOWN
        logits = self(inputs, lengths).double().cpu()[..., torch.from_numpy(known)]
        probabilities, vocabulary = logits.softmax(-1).numpy(), vocabulary[known]
        likeliest = vocabulary[probabilities.argmax(-1)]
        stops = lengths.cpu().numpy()
        if every_step:
            return {
                "states": [states[:stop] for states, stop in zip(likeliest, stops, strict=True)],
                "probabilities": [values[:stop] for values, stop in zip(probabilities, stops, strict=True)],
                "vocabulary": vocabulary,
            }
        newest = np.arange(len(rows)), stops - 1
        return {"states": likeliest[newest], "probabilities": probabilities[newest], "vocabulary": vocabulary}

    def encode(self, sequence: Sequence[Any], number: int = 0) -> Tensor:
        """Return the indices of a sequence, ``(T, K)``; a step is a name, or a tuple of names for several features.

        Raises:
            RequestError: it is empty, a step has too few or too many features, or a state is unknown; ``number`` is the
                index of the sequence in messages.
        """
        if not len(sequence):
            raise RequestError(f"sequence {number + 1} is empty; give at least one state")
        names = self.spec.feature_names or ("state",) * len(self.features)
        indices = [{symbol: index for index, symbol in enumerate(symbols)} for symbols in self.features]
        rows = []
        for step, given in enumerate(sequence, start=1):
            states = [given] if is_name(given) else list(given)
            place = f"sequence {number + 1}, step {step}"
            if len(states) != len(names):
                raise RequestError(
                    f"{place}: has {len(states)} feature{'s' if len(states) != 1 else ''}, but the model takes "
                    f"{len(names)}: {', '.join(names)}"
                )
            for name, state, index in zip(names, states, indices, strict=True):
                if str(state) not in index:
                    hint = did_you_mean(str(state), set(index) - {UNKNOWN})
                    raise RequestError(f"{place}: the {name} '{state}' is unknown to the model{hint}")
            rows.append([index[str(state)] for index, state in zip(indices, states, strict=True)])
        return torch.tensor(rows, device=self.device)


def widths(size: int | Sequence[int], features: int) -> list[int]:
    """Return the embedding size of each feature.

    Raises:
        RequestError: the numbers of sizes and features differ.
    """
    if isinstance(size, int):
        return [size] * features
    if len(size) != features:
        raise RequestError(
            f"model.embedding_size={list(size)}: has {len(size)} sizes, but the data has {features} "
            f"feature{'s' if features > 1 else ''}; give one size for each, or one number for all"
        )
    return list(size)


def is_name(value: Any) -> bool:
    """Return whether a value is a single state: a string or a number."""
    return isinstance(value, (str, int, float, np.generic)) or (isinstance(value, np.ndarray) and value.ndim == 0)


def as_list(sequences: Any, features: int) -> list[Any]:
    """Return one sequence or several as a list of sequences.

    Raises:
        RequestError: the nesting is invalid for this number of features, or there is no sequence.
    """
    if isinstance(sequences, str):
        sequences = sequences.split()
    depth, inner = 0, sequences
    while not is_name(inner):
        try:
            inner = next(iter(inner), "")
        except TypeError as error:
            raise RequestError(f"sequences: {inner!r} is neither a state nor a list of states") from error
        depth += 1
    steps = 1 if features == 1 else 2  # nesting of one sequence
    if depth not in (steps, steps + 1) or not len(sequences):
        step = "states" if features == 1 else f"tuples of {features} states"
        raise RequestError(f"sequences: give a list of {step}, or a list of such lists")
    return [sequences] if depth == steps else list(sequences)
