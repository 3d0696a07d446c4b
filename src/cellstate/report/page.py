"""The page of a run, ``report.html``: one file that needs nothing else, and its figures as PNG files beside it."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellstate.report.theme import DARK, LIGHT, THEMES
from cellstate.runs.yaml_file import read_yaml

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model import SequenceModel
    from cellstate.report.material import Drawing

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A figure as a page holds it: a data URI for each theme, and its size at one pixel a point of the screen."""

    name: str
    caption: str
    sources: Mapping[str, str]
    width: int
    height: int


def write(
    folder: Path,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    data: SequenceData,
    model: SequenceModel,
) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run, and return the page.

    Args:
        folder: the run folder, with ``manifest.json`` and ``config.yaml``.
        metrics: the content of ``metrics.json``.
        history: the rows of ``metrics.csv``.
        data: what it was trained on.
        model: with its best weights, and with the scores of the test if there was one.
    """
    from cellstate.report import learning  # these load matplotlib
    from cellstate.report.material import Material
    from cellstate.report.results import result_table, verdict
    from cellstate.report.tasks import task_of

    material, task = Material(metrics, history, data, model), task_of(model)
    section = task.section(material)
    curves = learning.drawings(material, metric=task.metric, metric_label=task.metric_label, loss_unit=task.loss_unit)
    (folder / "figures").mkdir(exist_ok=True)
    page = render_page(
        metrics=metrics,
        task=task,
        result=metrics[material.split].get(task.metric),
        split=material.split,
        test_locked=data.test_locked,
        verdict=verdict(material, task.metric),
        table=result_table(material, task.metric),
        curves=[picture(drawing, folder) for drawing in curves],
        section=section,
        pictures=[picture(drawing, folder) for drawing in section.drawings],
        facts=data.prepared.facts,
        network=network(model),
        overrides=overrides(folder),
        manifest=json.loads((folder / "manifest.json").read_text()),
        config=(folder / "config.yaml").read_text(),
        checkpoint=folder / "checkpoints" / "best.ckpt",
    )
    target = folder / "report.html"
    draft = target.with_suffix(".tmp")
    draft.write_bytes(page.encode("utf-8", "replace"))
    return draft.replace(target)


def picture(drawing: Drawing, folder: Path) -> Picture:
    """Draw a figure in each theme; the light one goes to ``figures/`` too."""
    from cellstate.report.canvas import DPI, render

    images = {theme.name: render(drawing.draw, theme) for theme in THEMES}
    (folder / "figures" / f"{drawing.name}.png").write_bytes(images[LIGHT.name])
    # Bytes 16 to 24 of a PNG file are its width and height (RFC 2083, 11.2.1).
    width, height = (int.from_bytes(images[LIGHT.name][at : at + 4], "big") * 100 // DPI for at in (16, 20))
    sources = {name: f"data:image/png;base64,{base64.b64encode(image).decode()}" for name, image in images.items()}
    return Picture(drawing.name, drawing.caption, sources, width, height)


def render_page(**content: Any) -> str:
    """Fill the template of a run's page; all text that comes from outside is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["number"] = _number
    return environment.get_template("run.html.jinja").render(light=LIGHT, dark=DARK, **content)


def printable(text: str) -> str:
    """Return text that HTML may hold: control characters become their pictures (U+2400 and on), others that mark."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn")
        else (chr(0x2400 + ord(character)) if character < " " else "\ufffd")
        for character in text
    )


def network(model: SequenceModel) -> str:
    """Return the kind of network in a few words, such as ``Classifier with bidirectional LSTM``."""
    backbone = model.backbone
    direction = "bidirectional " if getattr(backbone, "bidirectional", False) else ""
    return f"{type(model).__name__} with {direction}{type(backbone).__name__}"


def overrides(folder: Path) -> list[str]:
    """Return what stood on the command line, as Hydra recorded it; nothing for a run started from Python."""
    record = folder / ".hydra" / "overrides.yaml"
    return [str(override) for override in read_yaml(record, resolved=False)] if record.is_file() else []


def _number(value: float | None) -> str:
    from cellstate.report.summary import number

    return number(value)
