"""Shared by all report pages: templates with escaped text, figures as PNG files and as data URIs."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cellstate.plotting.theme import DARK, LIGHT, THEMES
from cellstate.runs.writing import write_whole

if TYPE_CHECKING:
    from cellstate.plotting.parts import Drawing

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A figure embedded in a page: a data URI for each theme, and its size in CSS pixels."""

    name: str
    caption: str
    sources: Mapping[str, str]
    width: int
    height: int
    wide: bool


def pictures(drawings: Iterable[Drawing], folder: Path) -> list[Picture]:
    """Render figures in each theme; the light ones are also written to ``folder/figures/``."""
    return [picture(drawing, folder) for drawing in drawings]


def picture(drawing: Drawing, folder: Path) -> Picture:
    """Render one figure.

    Raises:
        RunError: the file cannot be written.
    """
    from cellstate.plotting.canvas import DPI, render

    images = {theme.name: render(drawing.draw, theme, heat=drawing.heat) for theme in THEMES}
    write_whole(folder / "figures" / f"{drawing.name}.png", lambda draft: draft.write_bytes(images[LIGHT.name]))
    # Bytes 16 to 24 of a PNG file are its width and height (RFC 2083, 11.2.1).
    width, height = (int.from_bytes(images[LIGHT.name][at : at + 4], "big") * 100 // DPI for at in (16, 20))
    sources = {name: f"data:image/png;base64,{base64.b64encode(image).decode()}" for name, image in images.items()}
    return Picture(drawing.name, drawing.caption, sources, width, height, drawing.wide)


def discard_others(folder: Path, kept: Iterable[Picture]) -> None:
    """Remove figures of an earlier page that this one does not have."""
    names = {picture.name for picture in kept}
    for file in (folder / "figures").glob("*.png"):
        if file.stem not in names:
            with suppress(OSError):
                file.unlink()


def write_page(template: str, target: Path, **content: Any) -> Path:
    """Fill a template and write the page.

    Raises:
        RunError: the file cannot be written.
    """
    page = render_page(template, **content).encode("utf-8", "replace")
    write_whole(target, lambda draft: draft.write_bytes(page))
    return target


def page_link(folder: Path, job: str) -> str:
    """Return the link to the page of a job's subfolder; empty if it has none."""
    return f"{quote(job)}/report.html" if (folder / job / "report.html").is_file() else ""


def render_page(template: str, **content: Any) -> str:
    """Fill a template; all text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from cellstate.metrics.display import number

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["number"] = number
    return environment.get_template(template).render(light=LIGHT, dark=DARK, **content)


def printable(text: str) -> str:
    """Replace characters that HTML forbids: control characters by their symbols (U+2400 ff.), others by U+FFFD."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn")
        else (chr(0x2400 + ord(character)) if character < " " else "\ufffd")
        for character in text
    )
