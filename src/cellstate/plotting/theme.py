"""Colours and style of all figures and pages, light and dark. Imports nothing heavy.

The colour-blind-safe palette of Okabe & Ito (Color Universal Design, 2008); each theme uses the colours that contrast
with its background. A role has the same colour in all figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLACK, WHITE = "#000000", "#ffffff"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
YELLOW = "#f0e442"
# Six colours of cividis (Nuñez, Anderton & Renslow, 2018), perceptually uniform also for colour-blind readers: the
# colour map of fractions, 0 to 1.
CIVIDIS = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
RAMP = 80  # colours of a colour map


@dataclass(frozen=True)
class Theme:
    """The colours of one theme, as ``#rrggbb``."""

    name: str
    page: str  # page background
    surface: str  # background of figures and tables
    ink: str  # text and observed values
    muted: str  # secondary text
    rule: str  # grid and borders
    run: str  # this run: its validation curve, its forecast, its row
    train: str  # the training curve
    optimum: str  # the best possible predictor
    baselines: tuple[str, ...]  # baseline predictors
    groups: tuple[str, ...]  # configurations by rank, further ones are muted; the colour of the optimum comes last

    def mixed(self, colour: str, share: float, other: str | None = None) -> str:
        """Blend ``colour`` with ``share`` of ``other`` (default: the ink)."""
        parts = zip(channels(colour), channels(other or self.ink), strict=True)
        return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)

    def text(self, colour: str) -> str:
        """Return a colour with enough contrast for text."""
        return self.mixed(colour, 0.25)

    def shares(self) -> list[str]:
        """Return the sequential colour map, for values from 0 to 1."""
        return self.ramp(CIVIDIS)

    def signed(self) -> list[str]:
        """Return the diverging colour map, for values around 0."""
        middle = self.mixed(self.surface, 0.06)
        low, high = self.mixed(BLUE, 0.25, BLACK), self.mixed(VERMILLION, 0.25, BLACK)
        if self.name == "dark":
            return self.ramp((SKY, BLUE, middle, VERMILLION, ORANGE))
        return self.ramp((low, SKY, middle, ORANGE, high))

    def ramp(self, anchors: tuple[str, ...]) -> list[str]:
        """Interpolate ``RAMP`` colours evenly between anchors."""
        found = []
        for number in range(RAMP):
            place = number / (RAMP - 1) * (len(anchors) - 1)
            left = min(int(place), len(anchors) - 2)
            found.append(self.mixed(anchors[left], place - left, anchors[left + 1]))
        return found

    def palette(self, *, heat: bool = False) -> list[str]:
        """Return at most 256 colours: the background, and each colour in steps towards it (antialiased edges).

        With ``heat`` the two colour maps are included, and of the other colours only that of the run.
        """
        coloured = list(dict.fromkeys((self.run, self.train, self.optimum, *self.baselines, *self.groups)))
        hues = [self.ink, self.muted, self.rule, *coloured, *(self.text(hue) for hue in coloured)]
        if heat:
            hues = [self.ink, self.muted, self.rule, self.run, self.text(self.run)]
            ramps = [*self.shares(), *self.signed()]
        else:
            ramps = []
        steps = (255 - len(ramps)) // len(hues)
        mixtures = [self.mixed(self.surface, step / steps, hue) for hue in hues for step in range(1, steps + 1)]
        # Colours too close to the background would replace it when quantizing to the nearest colour.
        return [self.surface, *ramps] + [colour for colour in mixtures if distance(colour, self.surface) >= 8]

    def rc(self) -> dict[Any, Any]:
        """Return settings for ``matplotlib.rc_context``."""
        return {
            "font.family": "DejaVu Sans",  # ships with matplotlib: identical on every machine
            "font.size": 9,
            "text.color": self.ink,
            "text.parse_math": False,  # names may contain "$"
            "axes.unicode_minus": True,
            "axes.facecolor": "none",
            "axes.edgecolor": self.rule,
            "axes.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.labelcolor": self.muted,
            "axes.labelsize": 9,
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.color": self.rule,
            "grid.linewidth": 0.8,
            "xtick.color": self.rule,
            "ytick.color": self.rule,
            "xtick.labelcolor": self.muted,
            "ytick.labelcolor": self.muted,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "xtick.major.size": 3,
            "ytick.major.size": 0,
            "lines.linewidth": 1.8,
            "lines.solid_capstyle": "round",
            "lines.solid_joinstyle": "round",
        }


LIGHT = Theme(
    name="light",
    page="#f4f5f7",
    surface=WHITE,
    ink="#1a1f26",
    muted="#5a6572",
    rule="#e1e5ea",
    run=BLUE,
    train=VERMILLION,
    optimum=GREEN,
    baselines=(PURPLE, ORANGE),
    groups=(BLUE, VERMILLION, PURPLE, ORANGE, SKY, GREEN),
)
DARK = Theme(
    name="dark",
    page="#0e1116",
    surface="#171b22",
    ink="#e8ebef",
    muted="#9aa5b1",
    rule="#2c333d",
    run=SKY,
    train=ORANGE,
    optimum=GREEN,
    baselines=(PURPLE, VERMILLION),
    groups=(SKY, ORANGE, PURPLE, VERMILLION, YELLOW, GREEN),
)
THEMES = (LIGHT, DARK)


def distance(colour: str, other: str) -> int:
    """Return the largest difference of two colours in one channel, 0 to 255."""
    return max(abs(a - b) for a, b in zip(channels(colour), channels(other), strict=True))


def channels(colour: str) -> list[int]:
    """Return red, green and blue of ``#rrggbb``."""
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
