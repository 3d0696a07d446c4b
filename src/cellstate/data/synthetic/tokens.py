"""What every generated task of symbols shares: a vocabulary, a target at every step, chains to compare with."""

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
    """Generated sequences of symbols with a symbol to predict at every step.

    Subclasses say what they ask, of which symbols, and how samples are drawn: ``question``, ``vocabulary`` and
    ``draw``. Each ``TensorSamples`` has inputs ``(N, T)`` and targets ``(N, T)``, int64; targets are IGNORED from a
    sequence's end on.
    """

    answer: ClassVar[tuple[str, int, int] | tuple[()]] = ()
    """The metric of what the task is about, and its first and last target counted from a sequence's end, 1 the last."""

    @abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """Return the symbols in the order of their numbers."""

    @override
    def specification(self, training: TensorSamples) -> DataSpec:
        return DataSpec(vocabulary=self.vocabulary(), answer=self.answer)

    def steps(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets of a split, ``(N, T)`` each."""
        samples = self.samples(split)
        return samples.inputs.numpy(), samples.targets.numpy()

    def fitted_chains(self) -> dict[str, Scores]:
        """Return metric -> chain -> score: chains of order 0 (``unigram``) to 3, counted on the training split."""
        return chain_scores(self.steps("train"), self.steps(self.reported_split), len(self.vocabulary()))


def next_symbols(sequences: NDArray[np.integer], lengths: NDArray[np.int64] | None = None) -> TensorSamples:
    """Return samples that ask for the next symbol of ``sequences (N, L)``: ``(N, L - 1)`` inputs and targets.

    lengths: symbols of each sequence ``(N,)``, two or more; None where all have L. Beyond them targets are IGNORED.
    """
    symbols = torch.from_numpy(sequences.astype(np.int64))
    inputs, targets = symbols[:, :-1].contiguous(), symbols[:, 1:].contiguous()
    if lengths is None:
        return TensorSamples(inputs, targets)
    known = torch.from_numpy(lengths) - 1  # inputs and targets that a sequence has
    targets[torch.arange(targets.shape[1]) >= known[:, None]] = IGNORED
    return TensorSamples(inputs, targets, known)
