"""The lecture docs/lstm.md: its code runs and prints what stands there, and what it quotes is the code that runs."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import matplotlib.image
import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/lstm.md").read_text()
SCRIPT = (ROOT / "scripts/lstm_story.py").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```\n", DOCUMENT, re.DOTALL)
QUOTES = [body for language, body in BLOCKS if language == "python" and body.startswith("# src/")]
FIGURES = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", DOCUMENT)


def examples():
    """Every block of code that is no quotation, and the output that stands behind it."""
    return [
        (body, BLOCKS[number + 1][1])
        for number, (language, body) in enumerate(BLOCKS)
        if language == "python" and body not in QUOTES
    ]


def test_its_code_prints_what_stands_behind_it():
    assert len(examples()) >= 4
    namespace: dict[str, object] = {}
    for code, expected in examples():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/lstm.md", "exec"), namespace)
        assert printed.getvalue() == expected


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: quote.splitlines()[1].strip()[:40])
def test_quoted_code_stands_in_the_file_that_is_named(quote):
    first, body = quote.split("\n", 1)
    assert body in (ROOT / first.removeprefix("# ")).read_text()


def test_both_passes_are_quoted():
    assert sum("transparent/lstm.py" in quote.splitlines()[0] for quote in QUOTES) >= 2


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_one_that_the_script_writes(figure):
    file = ROOT / "docs" / figure
    assert f'figures / "{file.name}"' in SCRIPT
    height, width = matplotlib.image.imread(file).shape[:2]
    assert width > height > 100
    assert file.stat().st_size < 60_000


def test_no_figure_lies_there_unshown():
    in_readme = re.findall(r"!\[[^\]]+\]\(docs/([^)]+)\)", (ROOT / "README.md").read_text())
    assert {f"figures/{file.name}" for file in (ROOT / "docs/figures").glob("*.png")} == {*FIGURES, *in_readme}
