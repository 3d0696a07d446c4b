"""Which units of a character model follow something that a reader can name, such as the position in the line.

After Karpathy, Johnson & Fei-Fei, "Visualizing and understanding recurrent networks" (2015), who found such units by
looking. Here they are measured: how well a unit's value after reading a character tells a property of that character's
place, as |2 AUC - 1| (the rank-biserial correlation) for what is so or not, and as |Spearman's rho| for what is
counted. Both are 0 where the unit tells nothing and 1 where it tells all.

Among hundreds of units some do so by chance, and all that read characters tell something of them, trained or not. So a
unit is named only where it passes two bounds, each of which holds for all units and properties at once:

- **chance**: what the best unit reaches on the properties of other pieces of text, in 95 of 100 shuffles;
- **untrained**: what the best unit of one more network of the same shape that was never trained exceeds, for any
  property, in 1 of 20 cases, as 19 of them tell.
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
UNTRAINED = 19  # networks of the same shape: one more stands out most of all 20 in 1 of 20 cases
LEVEL = 0.95
WARM = 16  # steps of each piece that are read and do not count: the network knows nothing yet
BEFORE = 4000  # characters that are looked through for an open quote, the beginning of the line and the like
OPEN, CLOSE = "([{", ")]}"


# ---------------------------------------------------------------------- what a reader sees


def properties(text: str) -> dict[str, np.ndarray]:
    """Return property -> its value at each character of a text, ``(N,)``: bool, or int where it is counted.

    Quotes and brackets are closed by a blank line at the latest, as one that is never closed would be open for ever.
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
    """Return the properties of pieces of a text, ``(B, steps)`` each, as one knows them who has read what is before."""
    parts = []
    for start in starts:
        first = max(0, start - BEFORE)
        found = properties(text[first : start + steps])
        parts.append({name: values[start - first :] for name, values in found.items()})
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]} if parts else {}


# ---------------------------------------------------------------------- which units follow it


@dataclass(frozen=True)
class Following:
    """One unit that follows a property."""

    state: str  # l0.h, l1.c ...
    unit: int
    what: str  # the property
    strength: float  # |2 AUC - 1| or |rho|
    sign: int  # 1: high where the property is, or grows; -1: low
    counted: bool  # whether the property is counted: strength is |rho|

    @property
    def score(self) -> str:
        """Return the measure as it is usually given: AUC, or rho."""
        if self.counted:
            return f"rho {self.sign * self.strength:+.2f}".replace("-", "−")
        return f"AUC {(1 + self.strength) / 2:.3f}"


@dataclass(frozen=True)
class Characters:
    """How well all units follow all properties, and which pass the bounds."""

    states: tuple[str, ...]  # of each column: l0.h ...
    units: tuple[int, ...]  # of each column
    what: tuple[str, ...]  # the properties that vary in this text
    strength: np.ndarray  # (P, U), signed
    chance: float  # what no unit reaches by chance, for any property, in 95 of 100 cases
    untrained: np.ndarray  # (P,), what the best unit of an untrained network may reach
    counted: tuple[bool, ...]  # (P,)

    @property
    def bound(self) -> np.ndarray:
        """What a unit must exceed, ``(P,)``."""
        return np.maximum(self.untrained, self.chance)

    def following(self, most: int = 3) -> list[Following]:
        """Return the units that follow a property, at most so many of each, the best first."""
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
        network: a recurrent network, as ``open_states`` takes it.
        embed: from tokens ``(B, T)`` to what the network reads, ``(B, T, F)``.
        tokens: pieces of a text that it was not trained on, ``(B, T)``.
        marks: what ``properties_at`` gave for these pieces; those that hardly vary in them are left out.
        seed: of shuffles and untrained networks.

    Raises:
        ValueError: there are fewer than 4 pieces, or they are too short.
    """
    rows, steps = tokens.shape
    if rows < 4 or steps <= WARM:
        raise ValueError(f"give 4 or more pieces of more than {WARM} characters, not {rows} of {steps}")
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
    """Say whether no value of a property holds at more than 99 of 100 places: else there is little to tell."""
    commonest = np.unique(values, return_counts=True)[1].max() / values.size
    return bool(commonest <= 0.99)


def ranked(states: States) -> tuple[list[tuple[str, int]], Tensor]:
    """Return state and unit of each column, and the ranks of its values after ``WARM``, ``(N, U)``, standardised."""
    columns, parts = [], []
    for layer in states.layers:
        for name in ("h", "c"):
            values = layer.named().get(name)
            if values is not None:
                columns += [(f"{layer.name}.{name}", unit) for unit in range(values.shape[-1])]
                parts.append(values[:, WARM:].flatten(0, 1))
    return columns, standardised(torch.cat(parts, dim=-1))


def standardised(values: Tensor) -> Tensor:
    """Return the ranks of each column ``(N, U)``, mean 0 and length 1; of equal values their mean rank."""
    found = np.empty(tuple(values.shape), np.float32)
    for number, column in enumerate(values.t().cpu().numpy()):
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        found[:, number] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    found -= found.mean(0)
    length = np.sqrt(np.square(found.astype(np.float64)).sum(0))
    return torch.from_numpy(found / np.where(length > 0, length, 1).astype(np.float32))


def _strengths(ranks: Tensor, marks: dict[str, np.ndarray]) -> np.ndarray:
    """Return 2 AUC - 1, or rho, of each property and column, ``(P, U)``.

    With standardised ranks r (length 1) of N values, those of n places where the property is so have the mean

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
    """Return the properties of other pieces in the place of each piece's own: all at once, as they belong together."""
    order = torch.randperm(rows, generator=generator)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return {name: values[other.numpy()] for name, values in marks.items()}


def _untrained(network: Any, inputs: Tensor, seed: int) -> list[Tensor]:
    """Return the ranks of networks of the same shape whose weights are drawn anew, as are the embedded symbols.

    The symbols' vectors are turned by a random orthogonal matrix: they keep their lengths and angles, and what the
    first layer sees of them has nothing to do with what was learnt.
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


def prediction_bound(reached: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Return what one more untrained network exceeds for any property with a probability of at most ``1 - level``.

    For each network, how far its best unit stands out for any property among the other networks, in their standard
    deviations:

        t_i = max over properties p of (z_ip - mean of the others) / (deviation of the others * sqrt(1 + 1 / (K - 1)))

    One more network is as likely as any of the K to have the largest t, whatever its distribution: with K = 19, the
    largest t_i is exceeded in 1 of 20 cases. The bound of a property lies that many deviations above its mean. z is
    Fisher's, in which a strength near 1 has room.

    Args:
        reached: strength of the best unit of each network and property, ``(K, P)``.
        level: of all properties together; K must be ``level / (1 - level)`` or more.
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
    t = sorted(apart)[min(count, math.ceil(level * (count + 1) - 1e-9)) - 1]
    return np.tanh(z.mean(0) + t * z.std(0, ddof=1) * math.sqrt(1 + 1 / count))
