"""Report pages (``report.html``) of runs, sweeps, comparisons and benchmarks, with their figures."""

from __future__ import annotations

from typing import Any

from cellstate.report.run.page import write

__all__ = ["tables", "write"]


def tables(*parts: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the numbers behind the figures of a run, name -> rows; the arguments are those of ``Material``."""
    from cellstate.model.material import Material

    material = Material(*parts)
    return material.model.tables(material)
