"""Base class of generated token tasks: a vocabulary, a target at every step, Markov chains as references."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.generated import GeneratedData
from cellstate.metrics.chains import chain_scores
from cellstate.metrics.tokens import IGNORED


class GeneratedTokens(GeneratedData):
    """Generated sequences of symbols with a target symbol at every step.

    Subclasses define ``question``, ``vocabulary`` and ``draw``. Each ``TensorSamples`` has inputs and targets
    ``(N, T)``, int64; targets are IGNORED beyond the end of a sequence.
    """

    gives = "vocabulary"

    answer: ClassVar[tuple[str, int, int] | tuple[()]] = ()
    """The main metric of the task, and its first and last target counted from the end of a sequence (1: the last)."""

    @abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """Return the symbols in the order of their indices."""

    @override
    def specification(self, training: TensorSamples) -> DataSpec:
        return DataSpec(vocabulary=self.vocabulary(), answer=self.answer)

    def steps(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets of a split, ``(N, T)`` each."""
        samples = self.samples(split)
        return samples.inputs.numpy(), samples.targets.numpy()

    def fitted_chains(self) -> dict[str, Scores]:
        """Return metric -> chain -> score: chains of order 0 (``unigram``) to 3, estimated on the training split."""
        return chain_scores(self.steps("train"), self.steps(self.reported_split), len(self.vocabulary()))


def next_symbols(sequences: NDArray[np.integer], lengths: NDArray[np.int64] | None = None) -> TensorSamples:
    """Return samples for next-symbol prediction of ``sequences (N, L)``: ``(N, L - 1)`` inputs and targets.

    lengths: symbols per sequence ``(N,)``, at least two; None if all have L. Targets beyond are IGNORED.
    """
    symbols = torch.from_numpy(sequences.astype(np.int64))
    inputs, targets = symbols[:, :-1].contiguous(), symbols[:, 1:].contiguous()
    if lengths is None:
        return TensorSamples(inputs, targets)
    known = torch.from_numpy(lengths) - 1  # inputs and targets per sequence
    targets[torch.arange(targets.shape[1]) >= known[:, None]] = IGNORED
    return TensorSamples(inputs, targets, known)
