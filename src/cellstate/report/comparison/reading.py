"""Read ``comparison.json`` for the page of a comparison. Imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellstate.errors import RequestError
from cellstate.report.configuration import is_number, shown
from cellstate.report.sweep.reading import brief


@dataclass(frozen=True)
class Condition:
    """A condition under which all variants ran: its entry in ``comparison.json``."""

    content: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The metric of the comparison."""
        return self.content["metric"]

    @property
    def name(self) -> str:
        """Its overrides as text; empty if there is only one condition."""
        return ", ".join(f"{key} {brief(value)}" for key, value in self.content["overrides"].items())

    @property
    def variants(self) -> Sequence[Mapping[str, Any]]:
        """The variants with their results."""
        return self.content["variants"]

    @property
    def scored(self) -> list[tuple[int, Mapping[str, Any]]]:
        """The variants that have a score, with their indices, which determine their colours."""
        return [(place, variant) for place, variant in enumerate(self.variants) if variant["score"]]

    @property
    def generalised(self) -> list[tuple[float, Condition]]:
        """The results of its networks on data of other sizes, as (size, condition)."""
        found = [
            (next(iter(one["overrides"].values())), Condition(one)) for one in self.content.get("generalisation", [])
        ]
        return sorted(found, key=lambda point: point[0])


@dataclass(frozen=True)
class Comparison:
    """A comparison and its conditions."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def conditions(self) -> list[Condition]:
        """All conditions."""
        return [Condition(one) for one in self.content["conditions"]]

    @property
    def split(self) -> str:
        """The split that was scored."""
        return self.content["split"]

    @property
    def names(self) -> list[str]:
        """The names of the variants, in the order given."""
        return [variant["name"] for variant in self.conditions[0].variants] if self.content["conditions"] else []

    @property
    def generalises(self) -> str | None:
        """The data key over which generalisation is tested; None if it is not."""
        return next(iter(self.content.get("generalise", {})), None)

    def series(self) -> dict[tuple[str, str], list[tuple[float, Condition]]]:
        """Return the conditions that differ only in one number, by (shared values, key of the number).

        Each series has at least two numbers, in ascending order.
        """
        found: dict[tuple[str, str], list[tuple[float, Condition]]] = {}
        for condition in self.conditions:
            values = condition.content["overrides"]
            for key in (key for key, value in values.items() if is_number(value)):
                shared = ", ".join(f"{name} {shown(value)}" for name, value in values.items() if name != key)
                found.setdefault((shared, key), []).append((float(values[key]), condition))
        return {
            name: sorted(points, key=lambda point: point[0])
            for name, points in found.items()
            if len({at for at, _ in points}) > 1
        }


def read(folder: Path) -> Comparison:
    """Return the comparison of a folder.

    Raises:
        RequestError: ``comparison.json`` is missing or invalid.
    """
    file = folder / "comparison.json"
    try:
        found = Comparison(folder, json.loads(file.read_text(encoding="utf-8")))
        for condition in found.conditions:
            _ = condition.name, condition.metric, condition.scored, condition.content["differences"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(f"{file}: is not a valid comparison ({error}); it was modified or removed") from error
    return found
