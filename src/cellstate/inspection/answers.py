"""What a model would answer after each step of a sequence, if the sequence ended there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellstate.data.batch import UNKNOWN, Batch
from cellstate.model import Classifier, Forecaster, LanguageModel, NextState, Regressor

LONGEST = 20  # characters of a name


@dataclass(frozen=True)
class Answers:
    """The prediction so far at each step.

    ``values (T, K)`` are probabilities of the K ``names``, or numbers of them in the data's own units.
    """

    names: tuple[str, ...]
    values: np.ndarray
    probabilities: bool

    def spoken(self, step: int) -> str:
        """Return the answer at a step, as one says it."""
        row = self.values[step]
        if self.probabilities:
            best = int(row.argmax())
            return f"{shortened(readable(self.names[best]))} ({row[best]:.3f})"
        shown = [f"{value:.4g}" for value in row[:3]]
        return ", ".join(shown) + (", …" if len(row) > 3 else "")


@torch.no_grad()
def answers_of(model: Any, batch: Batch, row: int) -> Answers | None:
    """Return what a model would answer after each step of the network; None of a model of another class."""
    stop = batch.inputs.shape[1] if batch.lengths is None else int(batch.lengths[row])
    read, spec = batch.inputs[row : row + 1, :stop], model.spec
    model.eval()
    if isinstance(model, (LanguageModel, NextState)):
        logits = model(read)[0] if isinstance(model, LanguageModel) else model(read)
        logits = logits.reshape(stop, -1).double()
        if UNKNOWN in spec.vocabulary:
            logits[:, spec.vocabulary.index(UNKNOWN)] = -torch.inf  # it is no answer
        return Answers(spec.vocabulary, logits.softmax(-1).numpy(), probabilities=True)
    if isinstance(model, (Classifier, Regressor)):
        found = endings(model, read)
        if isinstance(model, Classifier):
            return Answers(spec.classes, found.softmax(-1).numpy(), probabilities=True)
        return Answers(spec.targets, found.numpy() * np.asarray(spec.std) + np.asarray(spec.mean), probabilities=False)
    if isinstance(model, Forecaster):
        first = model.kind.point(forecasts(model, read)).double().numpy()[:, 0]  # (S, C), of the first step to come
        return Answers(spec.targets, first * np.asarray(spec.std) + np.asarray(spec.mean), probabilities=False)
    return None


def endings(model: Classifier | Regressor, read: Tensor) -> Tensor:
    """Return what a model gives for every beginning of a sequence ``(1, T, F)``, ``(T, K)``."""
    steps = read.shape[1]
    lengths = torch.arange(1, steps + 1)
    parts = [
        model(read.expand(len(some), -1, -1)[:, : int(some.max())], some)
        for some in lengths.split(max(1, 65536 // steps))
    ]
    return torch.cat(parts).double()


def forecasts(model: Forecaster, read: Tensor) -> Tensor:
    """Return what the head makes of the network's output after each step of a window ``(1, W, C)``, ``(S, ...)``."""

    def each_step(_module: Any, _args: Any, results: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
        return results[0][:1].transpose(0, 1), results[1]  # (S, 1, D): row s ends with the output of step s

    backbone: Any = model.backbone
    steps = read.shape[1] // model.segment
    hook = backbone.register_forward_hook(each_step)
    try:
        return model(read.expand(steps, -1, -1))
    finally:
        hook.remove()


def shortened(text: str) -> str:
    """Return a name that may come from a file in one line, cut off where it is too long for a table."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def readable(symbol: str) -> str:
    """Return a symbol such that it is seen: a space, a line break and other signs that print nothing by their names."""
    named = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
    if symbol in named:
        return named[symbol]
    return symbol if symbol.isprintable() else "".join(f"U+{ord(sign):04X}" for sign in symbol)
