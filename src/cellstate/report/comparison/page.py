"""The page of a comparison: a self-contained ``report.html``, and its figures as PNG files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.table import rank
from cellstate.report.comparison.reading import Comparison, Condition, read
from cellstate.report.configuration import command_line, shown
from cellstate.report.document import discard_others, page_link, pictures, write_page

CURVES = 8  # conditions with learning curves
MATCHED = {
    "parameters": "equal numbers of parameters, by adjusting the number of units",
    "time": "equal training time, by adjusting the number of epochs",
    None: "each as configured",
}


@dataclass(frozen=True)
class Line:
    """A row of the table: a variant, or (by ``kind``) an optimum or a baseline."""

    name: str
    kind: str
    mean: str
    given: list[str]
    half: str = ""
    n: str = ""
    parameters: str = ""
    state: str = ""
    seconds: str = ""
    link: str = ""
    missing: str = ""


def write(folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into the folder of a comparison, and return the page.

    Raises:
        RequestError: ``comparison.json`` is invalid.
        RunError: the page cannot be written.
    """
    from cellstate.report.comparison import figures, texts  # these load matplotlib and torch

    comparison = read(folder)
    conditions = comparison.conditions
    along = pictures(figures.along(comparison), folder)
    over = [pictures(figures.generalised(comparison, condition), folder) for condition in conditions]
    scores = [pictures(figures.scores(comparison, condition), folder) for condition in conditions]
    drawn = [drawing for condition in conditions[:CURVES] for drawing in figures.learned(comparison, condition)]
    learned = pictures(drawn, folder)
    discard_others(folder, [*along, *(one for part in (*scores, *over) for one in part), *learned])
    parts = [
        {
            "condition": condition,
            "lines": sorted_lines(comparison, condition),
            "given": given_keys(condition),
            "differences": list(differences(condition)),
            "figures": own,
        }
        for condition, own in zip(conditions, scores, strict=True)
    ]
    return write_page(
        "comparison.html.jinja",
        folder / "report.html",
        comparison=comparison,
        command=command_line({"command": comparison.content["command"]}),
        matched=MATCHED[comparison.content["match"]],
        level=f"{100 * comparison.content['level']:.0f} %",
        tuned=[(key, ", ".join(map(shown, values))) for key, values in comparison.content["tuned"].items()],
        verdicts=[(condition.name, condition.content["verdict"]) for condition in conditions],
        parts=parts,
        along=along,
        learned=learned,
        generalised=[one for part in over for one in part],
        texts=texts.side_by_side(comparison),
    )


def given_keys(condition: Condition) -> list[str]:
    """Return the keys that matching and the search have set."""
    return list(dict.fromkeys(key for variant in condition.variants for key in variant["given"]))


def sorted_lines(comparison: Comparison, condition: Condition) -> list[Line]:
    """Return variants and references by rank."""
    given = given_keys(condition)
    means = [variant["score"]["mean"] if variant["score"] else None for variant in condition.variants]
    lines = [line(comparison, variant, given) for variant in condition.variants]
    rows = [(rank(condition.metric, mean), one) for mean, one in zip(means, lines, strict=True)]
    for name, value in condition.content["reference"].items():
        kind = "optimum" if name in OPTIMA else "baseline"
        reference = Line(spoken(name), kind, number(value), [""] * len(given))
        rows.append((rank(condition.metric, value), reference))
    return [one for _, one in sorted(rows, key=lambda row: row[0])]


def line(comparison: Comparison, variant: Mapping[str, Any], given: list[str]) -> Line:
    """Return the row of a variant."""
    score, seconds = variant["score"], variant["seconds"]
    half = "" if not score or score["low"] is None else f"± {number((score['high'] - score['low']) / 2)}"
    links = [page_link(comparison.folder, folder) for folder in variant["folders"].values()]
    return Line(
        name=variant["name"],
        kind="variant",
        mean=number(score["mean"]) if score else "",
        half=half,
        n=str(score["n"] if score else 0),
        given=[shown(variant["given"][key]) if key in variant["given"] else "" for key in given],
        parameters=f"{variant['parameters']:,}",
        state=f"{variant['state']:,}",
        seconds=f"{seconds['mean']:,.1f}" if seconds else "",
        link=next(filter(None, links), ""),
        missing=", ".join(variant["missing"]),
    )


def differences(condition: Condition) -> Iterator[tuple[str, str, str, str, str, bool]]:
    """Yield pair, difference, interval, p-value, number of seeds, and whether it is significant."""
    for row in condition.content["differences"]:
        interval = "" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"
        p = "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        yield f"{row['one']} − {row['other']}", number(row["mean"]), interval, p, str(row["n"]), row["shown"]
