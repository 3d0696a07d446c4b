"""Bits per symbol as a function of the length of the context."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from cellstate.data.files.text import TextSamples
from cellstate.metrics.display import number
from cellstate.metrics.predictors import spoken
from cellstate.model import LanguageModel
from cellstate.model.material import Material
from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.curves import colour_of
from cellstate.plotting.theme import Theme

WINDOWS, LENGTH = 128, 256  # pieces of the text, symbols of each
LOGITS = 10_000_000  # most numbers in memory at a time
HEIGHT = 3.5  # inches


@dataclass(frozen=True)
class Bits:
    """The mean ``bits (P,)`` of a symbol after ``seen (P,)`` others, and half its 95 % interval, over windows.

    Positions are binned logarithmically: ``seen`` is the geometric mean of a bin's ends.
    """

    seen: np.ndarray
    bits: np.ndarray
    half: np.ndarray
    windows: int


def collect(material: Material) -> Bits:
    """Return the bits by position, over evenly spaced windows of the reported split."""
    samples = material.data.prepared.splits[material.split]
    assert isinstance(samples, TextSamples)
    length = min(LENGTH + 1, len(samples.tokens))
    starts = np.unique(np.linspace(0, len(samples.tokens) - length, WINDOWS).astype(int))
    windows = torch.stack([samples.tokens[start : start + length] for start in starts.tolist()]).long()
    costs = bits_of(material, windows).numpy()  # (W, T)
    edges = np.unique(np.geomspace(1, length, 40).astype(int))
    if edges[-1] != length:
        edges = np.append(edges, length)
    means = np.stack([costs[:, low - 1 : high - 1].mean(axis=1) for low, high in itertools.pairwise(edges)])
    half = 1.96 * means.std(axis=1, ddof=1) / math.sqrt(len(starts)) if len(starts) > 1 else 0 * means[:, 0]
    return Bits(np.sqrt(edges[:-1] * (edges[1:] - 1)), means.mean(axis=1), half, len(starts))


def bits_of(material: Material, tokens: Tensor) -> Tensor:
    """Return ``(W, T - 1)``: the bits of each of ``tokens (W, T)`` but the first, given the previous ones."""
    model = material.model
    assert isinstance(model, LanguageModel)
    rows = max(1, LOGITS // (tokens.shape[1] * len(model.spec.vocabulary)))
    found = []
    with torch.no_grad(), material.precision():
        for part in tokens.split(rows):
            logits = model(part[:, :-1].to(model.device))[0].double()
            targets = part[:, 1:].to(model.device)
            costs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            found.append((costs / math.log(2)).view(targets.shape).cpu())
    return torch.cat(found)


def draw(theme: Theme, found: Bits, reference: Mapping[str, float], *, split: str) -> Figure:
    """Draw the bits over the length of the context, with optimum and n-grams as references."""
    figure = canvas.new_figure(theme, HEIGHT, f"Bits by position, {split} split", "bits per character; lower is better")
    axes = canvas.single_axes(figure)
    low, high = found.bits - found.half, found.bits + found.half
    lines = {name: value for name, value in reference.items() if name != "uniform"}
    canvas.scale_y(axes, [*low, *high, *lines.values()])
    ends = []
    for name, value in lines.items():
        axes.axhline(value, color=colour_of(theme, name), lw=0.9, dashes=(5, 2.5), zorder=1.5)
        ends.append(End(value, f"{spoken(name)} {number(value)}", theme.text(colour_of(theme, name))))
    axes.fill_between(found.seen, low, high, color=theme.run, alpha=0.2, lw=0)
    axes.plot(found.seen, found.bits, color=theme.run, marker="o" if len(found.seen) == 1 else "")
    axes.set_xscale("log")
    last = float(found.seen[-1])
    axes.set_xlim(0.93, max(last, 2) * 1.03)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500) if tick <= last]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("previous symbols")
    canvas.label_ends(axes, [*ends, End(float(found.bits[-1]), "this run", theme.text(theme.run))])
    return canvas.fit(figure)
