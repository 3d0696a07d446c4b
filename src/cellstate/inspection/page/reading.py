"""Units that follow something readable: a table of them, and a text coloured by the best."""

from __future__ import annotations

from dataclasses import dataclass

from cellstate.inspection.analysis import Following
from cellstate.inspection.result import Inspection
from cellstate.plotting.parts import Table

SHOWN = 6  # properties whose best unit colours a text
LEVELS = 4  # shades on either side of 0
PIECES = 3  # pieces of text that are joined into one passage


@dataclass(frozen=True)
class Coloured:
    """A text, each character with the class of its colour."""

    title: str
    parts: list[tuple[str, str]]


def table(found: Inspection) -> Table | None:
    """Return the units that follow something, with the bound that each has passed."""
    if found.characters is None:
        return None
    bounds = dict(zip(found.characters.what, found.characters.bound.tolist(), strict=True))
    rows = [
        [f"{one.state}[{one.unit}]", one.what, one.score, f"{one.strength:.3f}", f"{bounds[one.what]:.3f}"]
        for one in found.characters.following()
    ]
    chance = found.characters.chance
    caption = (
        "Strength is |2 AUC − 1| of what is so or not, |rho| (Spearman) of what is counted. A unit is named where it "
        f"passes both bounds: {chance:.3f}, which no unit reaches for any property by chance in 95 of 100 shuffles, "
        "and what the best unit of a network of this shape that was never trained may reach, which differs by property."
    )
    return Table("Units that follow something readable", caption, ("unit", "follows", "as", "strength", "bound"), rows)


def passages(found: Inspection) -> list[Coloured]:
    """Return a text coloured by the best unit of each property that is followed."""
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
    direction = "high where" if one.sign > 0 else "low where"
    what = f"{direction} it grows" if one.counted else f"{direction} it is so"
    return Coloured(f"{one.what}: {one.state}[{one.unit}], {one.score} ({what})", parts[:-1])


def shade(value: float) -> str:
    """Return the class of a colour for a value from -1 to 1 and beyond: n4 ... n1, nothing, p1 ... p4."""
    level = min(LEVELS, int(abs(value) * LEVELS + 0.5))
    if level == 0:
        return ""
    return f"{'p' if value > 0 else 'n'}{level}"
