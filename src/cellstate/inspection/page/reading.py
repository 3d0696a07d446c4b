"""Interpretable units: a table, and a text coloured by the best."""

from __future__ import annotations

from dataclasses import dataclass

from cellstate.inspection.analysis import Following
from cellstate.inspection.result import Inspection
from cellstate.plotting.parts import Table

SHOWN = 6  # properties whose best unit colours a text
LEVELS = 4  # shades on each side of 0
PIECES = 3  # pieces of text in one passage


@dataclass(frozen=True)
class Coloured:
    """A text in parts, each with the CSS class of its colour."""

    title: str
    parts: list[tuple[str, str]]


def table(found: Inspection) -> Table | None:
    """Return the interpretable units with the bound that each exceeds."""
    if found.characters is None:
        return None
    bounds = dict(zip(found.characters.what, found.characters.bound.tolist(), strict=True))
    rows = [
        [f"{one.state}[{one.unit}]", one.what, one.score, f"{one.strength:.3f}", f"{bounds[one.what]:.3f}"]
        for one in found.characters.following()
    ]
    chance = found.characters.chance
    caption = (
        "Strength is |2 AUC − 1| for binary properties and Spearman's |rho| for counts. A unit is listed if it exceeds "
        f"two bounds: {chance:.3f}, which no unit reaches for any property in 95 of 100 shuffles, and the strength "
        "that the best unit of an untrained network of this shape may reach, which depends on the property."
    )
    return Table("Interpretable units", caption, ("unit", "property", "score", "strength", "bound"), rows)


def passages(found: Inspection) -> list[Coloured]:
    """Return a text coloured by the best unit of each tracked property."""
    if found.characters is None or not found.texts:
        return []
    return [passage(found, one) for one in found.characters.following(most=1)[:SHOWN]]


def passage(found: Inspection, one: Following) -> Coloured:
    """Return a few pieces of the text, coloured by one unit's value after each character."""
    layer, _, state = one.state.rpartition(".")
    values = next(states for states in found.states.layers if states.name == layer).named()[state][..., one.unit]
    numbers = values.double().cpu().numpy()
    centre, scale = float(numbers.mean()), 2 * float(numbers.std()) or 1.0
    parts: list[tuple[str, str]] = []
    order = [found.shown, *(row for row in range(len(found.texts)) if row != found.shown)][:PIECES]
    for row in order:
        for sign, value in zip(found.texts[row], values[row].tolist(), strict=True):
            colour = shade((value - centre) / scale)
            if parts and parts[-1][0] == colour:
                parts[-1] = (colour, parts[-1][1] + sign)
            else:
                parts.append((colour, sign))
        parts.append(("", "\n\n"))
    level = "high" if one.sign > 0 else "low"
    what = f"{level} for large values" if one.counted else f"{level} where true"
    return Coloured(f"{one.what}: {one.state}[{one.unit}], {one.score} ({what})", parts[:-1])


def shade(value: float) -> str:
    """Return the CSS class of a value's colour, clipped to -1 ... 1: n4 ... n1, empty, p1 ... p4."""
    level = min(LEVELS, int(abs(value) * LEVELS + 0.5))
    if level == 0:
        return ""
    return f"{'p' if value > 0 else 'n'}{level}"
