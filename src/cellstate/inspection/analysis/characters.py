"""Interpretable units of a character model: those that track a property of the text, such as the position in the line.

After Karpathy, Johnson & Fei-Fei, "Visualizing and understanding recurrent networks" (2015), who found such units by
visual inspection. Here a score measures how well a unit's value after a character encodes a property of that position:
|2 AUC - 1| (the rank-biserial correlation) for binary properties, |Spearman's rho| for counts. Both are from 0 to 1.

Among hundreds of units some correlate by chance, and the units of any network that reads characters, trained or not,
encode some properties. So a unit is listed only if it exceeds two bounds, each for all units and properties together:

- **chance**: the best unit's score on the properties of other pieces of text, in 95 of 100 shuffles;
- **untrained**: the score that the best unit of another untrained network of the same shape exceeds, for any property,
  in 1 of 20 cases, estimated from 19 of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.backbone.recurrent import RNN
from cellstate.backbone.transparent import fast
from cellstate.inspection.analysis.states import States, open_states

SHUFFLES = 100
UNTRAINED = 19  # networks of the same shape: another one is the most extreme of all 20 in 1 of 20 cases
LEVEL = 0.95
WARM = 16  # first steps of each piece, which are not scored: the state has no context yet
BEFORE = 4000  # preceding characters that are searched for an open quote, the start of the line and so on
OPEN, CLOSE = "([{", ")]}"


# ---------------------------------------------------------------------- properties of a text


def properties(text: str) -> dict[str, np.ndarray]:
    """Return property -> value at each character of a text, ``(N,)``: bool, or int for counts.

    A blank line closes all quotes and brackets, so that an unmatched one does not stay open to the end.
    """
    line = word = depth = 0
    quoted, blank = False, True
    rows: list[tuple[Any, ...]] = []
    for sign in text:
        if sign == "\n":
            if blank:
                quoted, depth = False, 0
            line, word, blank = 0, 0, True
        else:
            blank = blank and sign.isspace()
            line += 1
            word = word + 1 if sign.isalnum() else 0
        if sign == '"':
            quoted = not quoted
        depth = depth + 1 if sign in OPEN else max(0, depth - 1) if sign in CLOSE else depth
        rows.append((line, word, quoted, depth > 0, sign.isupper(), sign.isdigit(), sign.isalpha(), sign.isspace()))
    names = (
        *("position in line", "position in word", "inside quotes", "inside brackets"),
        *("upper case", "digit", "letter", "space"),
    )
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: np.asarray(column) for name, column in zip(names, columns, strict=True)}


def properties_at(text: str, starts: Sequence[int], steps: int) -> dict[str, np.ndarray]:
    """Return the properties of pieces of a text, ``(B, steps)`` each, given the text before them."""
    parts = []
    for start in starts:
        first = max(0, start - BEFORE)
        found = properties(text[first : start + steps])
        parts.append({name: values[start - first :] for name, values in found.items()})
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]} if parts else {}


# ---------------------------------------------------------------------- scores of the units


@dataclass(frozen=True)
class Following:
    """One unit that tracks a property."""

    state: str  # l0.h, l1.c ...
    unit: int
    what: str  # the property
    strength: float  # |2 AUC - 1| or |rho|
    sign: int  # 1: high where the property is true or large; -1: low
    counted: bool  # whether the property is a count: strength is |rho|

    @property
    def score(self) -> str:
        """The usual measure: AUC, or rho."""
        if self.counted:
            return f"rho {self.sign * self.strength:+.2f}".replace("-", "−")
        return f"AUC {(1 + self.strength) / 2:.3f}"


@dataclass(frozen=True)
class Characters:
    """The scores of all units for all properties, and their bounds."""

    states: tuple[str, ...]  # of each column: l0.h ...
    units: tuple[int, ...]  # of each column
    what: tuple[str, ...]  # the properties that vary in this text
    strength: np.ndarray  # (P, U), signed
    chance: float  # bound for all units and properties in 95 of 100 shuffles
    untrained: np.ndarray  # (P,), bound for the best unit of an untrained network
    counted: tuple[bool, ...]  # (P,)

    @property
    def bound(self) -> np.ndarray:
        """The larger of the two bounds, ``(P,)``."""
        return np.maximum(self.untrained, self.chance)

    def following(self, most: int = 3) -> list[Following]:
        """Return the units that track a property, at most ``most`` for each, the best first."""
        found = []
        for place, what in enumerate(self.what):
            row = np.abs(self.strength[place])
            for at in np.argsort(-row, kind="stable")[:most].tolist():
                if row[at] > self.bound[place]:
                    sign = 1 if self.strength[place, at] >= 0 else -1
                    counted = self.counted[place]
                    found.append(Following(self.states[at], self.units[at], what, float(row[at]), sign, counted))
        return sorted(found, key=lambda one: -one.strength)


def follow(
    network: nn.Module,
    embed: Callable[[Tensor], Tensor],
    tokens: Tensor,
    marks: dict[str, np.ndarray],
    *,
    seed: int = 0,
) -> Characters:
    """Return which units of a network follow which properties of a text.

    Args:
        network: a recurrent network, as for ``open_states``.
        embed: from tokens ``(B, T)`` to the network's inputs, ``(B, T, F)``.
        tokens: pieces of a text that it was not trained on, ``(B, T)``.
        marks: from ``properties_at`` for these pieces; properties that rarely vary are left out.
        seed: of shuffles and untrained networks.

    Raises:
        ValueError: fewer than 4 pieces, or pieces that are too short.
    """
    rows, steps = tokens.shape
    if rows < 4 or steps <= WARM:
        raise ValueError(f"at least 4 pieces of more than {WARM} characters are needed, got {rows} of {steps}")
    shown = {name: values[:, WARM:] for name, values in marks.items()}
    shown = {name: values for name, values in shown.items() if varies(values)}
    with torch.no_grad():
        inputs = embed(tokens)
    columns, ranks = ranked(open_states(network, inputs))
    found = _strengths(ranks, shown)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [float(np.abs(_strengths(ranks, _others(shown, rows, generator))).max()) for _ in range(SHUFFLES)]
    reached = np.stack([np.abs(_strengths(one, shown)).max(1) for one in _untrained(network, inputs, seed)])
    return Characters(
        states=tuple(state for state, _ in columns),
        units=tuple(unit for _, unit in columns),
        what=tuple(shown),
        strength=found,
        chance=float(np.quantile(shuffled, LEVEL)) if shown else 1.0,
        untrained=prediction_bound(reached),
        counted=tuple(values.dtype != bool for values in shown.values()),
    )


def varies(values: np.ndarray) -> bool:
    """Whether no value of a property makes up more than 99 % of its values."""
    commonest = np.unique(values, return_counts=True)[1].max() / values.size
    return bool(commonest <= 0.99)


def ranked(states: States) -> tuple[list[tuple[str, int]], Tensor]:
    """Return state and unit of each column, and the standardised ranks of its values after ``WARM``, ``(N, U)``."""
    columns, parts = [], []
    for layer in states.layers:
        for name in ("h", "c"):
            values = layer.named().get(name)
            if values is not None:
                columns += [(f"{layer.name}.{name}", unit) for unit in range(values.shape[-1])]
                parts.append(values[:, WARM:].flatten(0, 1))
    return columns, standardised(torch.cat(parts, dim=-1))


def standardised(values: Tensor) -> Tensor:
    """Return the ranks of each column ``(N, U)`` with mean 0 and length 1; ties get their mean rank."""
    found = np.empty(tuple(values.shape), np.float32)
    for number, column in enumerate(values.t().cpu().numpy()):
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        found[:, number] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    found -= found.mean(0)
    length = np.sqrt(np.square(found.astype(np.float64)).sum(0))
    return torch.from_numpy(found / np.where(length > 0, length, 1).astype(np.float32))


def _strengths(ranks: Tensor, marks: dict[str, np.ndarray]) -> np.ndarray:
    """Return 2 AUC - 1, or rho, of each property and column, ``(P, U)``.

    With standardised ranks r (length 1) of N values, those of the n places where the property is true have the mean

        mean r = (AUC - 1/2) (N - n) / L,   L the length of the ranks before: sqrt((N^3 - N) / 12) without ties.
    """
    found = []
    for values in marks.values():
        flat = values.reshape(-1)
        count = len(flat)
        if flat.dtype == bool:
            so = torch.from_numpy(flat.astype(np.float32))
            number = float(so.sum())
            length = math.sqrt((count**3 - count) / 12)
            found.append((so @ ranks).double() / max(number, 1) * length * 2 / max(count - number, 1))
        else:
            found.append((standardised(torch.from_numpy(flat).unsqueeze(1))[:, 0] @ ranks).double())
    return torch.stack(found).clamp(-1, 1).numpy() if found else np.zeros((0, ranks.shape[1]))


def _others(marks: dict[str, np.ndarray], rows: int, generator: torch.Generator) -> dict[str, np.ndarray]:
    """Return the properties with pieces shuffled, all properties together as they are correlated."""
    order = torch.randperm(rows, generator=generator)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return {name: values[other.numpy()] for name, values in marks.items()}


def _untrained(network: Any, inputs: Tensor, seed: int) -> list[Tensor]:
    """Return the ranks of networks of the same shape with random weights and randomly rotated embeddings.

    A random orthogonal matrix keeps the lengths and angles of the symbols' vectors, but makes them independent of
    what was learnt.
    """
    quick = fast(network)
    kind: Any = type(quick)
    options: dict[str, Any] = {"num_layers": quick.network.num_layers, "bidirectional": quick.bidirectional}
    if isinstance(quick, RNN):
        options["nonlinearity"] = quick.network.nonlinearity
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(UNTRAINED):
            drawn = kind(quick.input_size, quick.network.hidden_size, **options).to(inputs)
            turn = torch.linalg.qr(torch.randn(inputs.shape[-1], inputs.shape[-1]))[0].to(inputs)
            found.append(ranked(open_states(drawn, inputs @ turn))[1])
    return found


def prediction_bound(reached: np.ndarray) -> np.ndarray:
    """Return the bounds that another untrained network exceeds for any property with probability ``1 - LEVEL`` at most.

    For each network, the largest deviation of its best unit from those of the other networks, in standard deviations:

        t_i = max over properties p of (z_ip - mean of the others) / (deviation of the others * sqrt(1 + 1 / (K - 1)))

    Another network is as likely as any of the K to have the largest t, whatever its distribution: with K = 19, the
    largest t_i is exceeded in 1 of 20 cases. The bound of a property is that many deviations above its mean. z is
    Fisher's transform, which is unbounded.

    Args:
        reached: strength of the best unit of each network and property, ``(K, P)``; K >= 19, as LEVEL is 0.95.
    """
    count, properties = reached.shape
    if not properties:
        return np.zeros(0)
    z = np.arctanh(np.minimum(reached, 1 - 1e-6))
    apart = []
    for number in range(count):
        others = np.delete(z, number, axis=0)
        spread = np.maximum(others.std(0, ddof=1), 1e-9) * math.sqrt(1 + 1 / (count - 1))
        apart.append(float(((z[number] - others.mean(0)) / spread).max()))
    t = sorted(apart)[min(count, math.ceil(LEVEL * (count + 1) - 1e-9)) - 1]
    return np.tanh(z.mean(0) + t * z.std(0, ddof=1) * math.sqrt(1 + 1 / count))
