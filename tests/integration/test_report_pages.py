"""The pages as a browser shows them: nothing fails, nothing is cut off, nothing lies on something else."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chromium import Chromium, browser
from tests.conftest import slow
from tests.sweeps import job, unfinished, write_sweep

import cellstate
from cellstate.cli import dispatch
from cellstate.plotting.theme import DARK, LIGHT, channels
from cellstate.report.comparison import write as write_comparison
from cellstate.report.sweep import write

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
LONG = "a-name-without-an-end" * 12
SMALL = ["trainer.accelerator=cpu", "backbone.hidden_size=8", "trainer.max_epochs=2"]
SIZES = [f"data.{split}_size=64" for split in ("train", "val", "test")]
OFTEN = ("sweep", "forecast", "text", "inspected text")
SELDOM = (
    *("comparison", "pattern", "adding", "states", "labelled", "large sweep", "empty sweep", "strange comparison"),
    "inspected states",
)
KINDS = [*OFTEN, *slow(*SELDOM)]  # in make test-all every kind of page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as found:
        yield found


class Pages:
    """A page of each kind, made when it is asked for: of every task, with names that attack or do not end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.draws = folder, random.Random(0)
        self.names = [f"<b>{number}</b>" if number % 3 else f"{LONG}{number}" for number in range(40)]

    def __getitem__(self, kind: str) -> Path:
        place = self.folder / kind
        if kind == "empty sweep":
            place = self.folder / LONG[:200]
        if (place / "report.html").exists():
            return place / "report.html"
        if kind == "sweep":
            return real_sweep(place)
        if kind == "large sweep":
            return large_sweep(place, self.draws)
        if kind == "comparison":
            return real_comparison(place)
        if kind == "strange comparison":
            return strange_comparison(self["comparison"].parent, place)
        if kind.startswith("inspected "):
            run = self[kind.removeprefix("inspected ")].parent
            cellstate.inspect(run, sequences=4, output=place)
            return place / "report.html"
        if kind == "empty sweep":
            return write(write_sweep(place, [unfinished({HOSTILE: LONG}, "failed", HOSTILE)]))
        cellstate.train([*self.words(kind), *SMALL, f"hydra.run.dir='{place}'"])
        return place / "report.html"

    def words(self, kind: str) -> list[str]:
        """Return the overrides of a run, after its file is written."""
        file, few = self.folder / f"{kind}.txt", ["data.batch_size=8", "data.eval_streams=8"]
        if kind == "pattern":
            return ["experiment=pattern", *SIZES]
        if kind == "forecast":
            return ["experiment=seasonal", "data.length=400", "model.head=quantile"]
        if kind == "adding":
            return ["experiment=adding", "data.length=10", *SIZES]
        if kind == "text":
            file.write_text(f"{HOSTILE}\n\n{LONG}\nab cd\x0c\n" * 40)
            return ["experiment=char_lm", f"data.path={file}", *few]
        if kind == "states":
            lines = [" ".join(self.draws.choices(self.names, k=self.draws.randint(2, 12))) for _ in range(120)]
            file.write_text("\n".join(lines) + "\n")
            return ["experiment=next_state", f"data.path={file}", "data.batch_size=16"]
        file = file.with_suffix(".csv")
        rows = [f"{row},{step},{self.draws.random()},{self.names[row % 37]}" for row in range(222) for step in range(3)]
        file.write_text("\n".join([f"walk,t,{LONG},side", *rows]) + "\n")
        columns = [f"data.path={file}", "data.id=walk", "data.label=side", "data.batch_size=16"]
        clock = ["trainer.val_check_interval=1.0", "trainer.check_val_every_n_epoch=1"]
        return ["experiment=labelled", *columns, *clock]


@pytest.fixture(scope="module")
def pages(chromium, tmp_path_factory) -> Pages:  # noqa: ARG001 (without a browser nothing is trained)
    return Pages(tmp_path_factory.mktemp("pages"))


def real_sweep(folder: Path) -> Path:
    """The page of a sweep as the command line runs it."""
    words = ["experiment=pattern", "backbone=gru,rnn", "seed=0,1", *SIZES, *SMALL, "report=false", "quiet=true"]
    assert dispatch(["train", "-m", *words, "sweep.name=real", f"hydra.sweep.dir='{folder}'"]) == 0
    return write(folder)


def real_comparison(folder: Path) -> Path:
    """The page of a comparison as the command line runs it, under two conditions."""
    words = ["backbone=gru,rnn", "seed=0,1", "data.length=8,12", *SIZES, *SMALL, "quiet=true"]
    words += ["comparison.generalise={data.length: [8, 12, 40]}"]
    assert dispatch(["compare", *words, "sweep.name=real", f"hydra.sweep.dir='{folder}'"]) == 0
    return folder / "report.html"


def strange_comparison(real: Path, folder: Path) -> Path:
    """The page of a comparison of many things whose names attack and do not end, some without a score."""
    folder.mkdir(exist_ok=True)
    content = json.loads((real / "comparison.json").read_text())
    first = content["conditions"][0]
    names = [HOSTILE, LONG, *(f"variant {number}" for number in range(10))]
    variant = first["variants"][0]
    first["variants"] = [
        {**variant, "name": name, "given": {LONG: LONG, HOSTILE: 3}, "score": variant["score"] if at % 3 else None}
        for at, name in enumerate(names)
    ]
    pair = {"n": 5, "mean": -1e-9, "low": -1.0, "high": 2.0, "p": 0.5, "shown": False}
    first["differences"] = [{"one": one, "other": other, **pair} for one, other in itertools.combinations(names, 2)]
    first["verdict"] = [f"{one} and {other}: no difference shown" for one, other in itertools.combinations(names, 2)]
    first["overrides"] = {LONG: HOSTILE}
    empty = {**first, "variants": [{**variant, "score": None, "scores": {}, "missing": ["seed=0"]}], "reference": {}}
    content["conditions"] = [first, empty]
    (folder / "comparison.json").write_text(json.dumps(content))
    return write_comparison(folder)


def large_sweep(folder: Path, draws: random.Random) -> Path:
    """The page of a sweep of 200 jobs with names that attack and do not end, some of them failed."""
    rows = [
        job(
            {"data.path": f"{HOSTILE}{number % 5}", "optimizer.lr": 10 ** draws.uniform(-4, -1), LONG: number % 3},
            val={"loss": draws.expovariate(1), "mae": draws.random()},
            parameters=draws.randint(1000, 10**7),
            seconds={"fit": draws.expovariate(0.01), "test": 1, "total": 2},
        )
        for number in range(195)
    ]
    rows += [unfinished({"data.path": LONG}, "failed", f"RunError: {HOSTILE} {LONG}") for _ in range(5)]
    return write(write_sweep(folder, rows, commands=[["cellstate", "train", "-m", f"x={HOSTILE}", LONG]]))


# What a reader would see as a fault: whatever is wider than the window, text wider than its box (both may be scrolled
# where the page says so), and cards that lie on each other.
FAULTS = """(() => {
  const found = [], wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) found.push('the page is wider than the window');
  const scrolls = element => element.closest('.scroll, details pre');
  for (const element of document.querySelectorAll('body *')) {
    const box = element.getBoundingClientRect();
    if (!box.width || scrolls(element)) continue;
    const name = element.tagName + '.' + element.className + ' ' + element.textContent.trim().slice(0, 40);
    if (box.right > wide + 0.5 || box.left < -0.5) found.push('beyond the window: ' + name);
    if (element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display != 'inline')
      found.push('cut off: ' + name);
  }
  const cards = [...document.querySelectorAll('.card')].map(card => card.getBoundingClientRect());
  cards.forEach((a, i) => cards.slice(0, i).forEach(b => {
    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
      found.push('cards on each other');
  }));
  return found;
})()"""
IMAGES = """[...document.images].map(image => [
  image.complete && image.naturalWidth / image.getBoundingClientRect().width,
  image.currentSrc == image.src, image.closest('figure').classList.contains('wide')])"""


WIDTHS = (1280, 820, 390)  # a desk, a tablet, a phone
VIEWS = [*itertools.product(WIDTHS, (LIGHT, DARK), (1, 2))]
HALF = [(1280, LIGHT, 1), (1280, DARK, 2), (820, LIGHT, 2), (820, DARK, 1), (390, LIGHT, 1), (390, DARK, 2)]


@pytest.mark.parametrize("views", [HALF, *slow(VIEWS)], ids=["every pair", "every view"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_at_any_width_in_both_schemes_and_densities(chromium, pages, kind, views):
    page = pages[kind]
    for width, theme, scale in views:
        chromium.show(page, width=width, scale=scale, dark=theme is DARK)
        assert chromium.complaints() == []
        assert chromium.requests() == [page.resolve().as_uri()]
        assert chromium.evaluate(FAULTS) == []
        assert chromium.evaluate("devicePixelRatio") == scale
        for density, is_light, wide in chromium.evaluate(IMAGES):
            assert density >= (0.99 * scale if width >= 820 or not wide else 1)  # else it would be blurred
            assert is_light == (theme is LIGHT)
        ground = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
        assert [int(part) for part in re.findall(r"\d+", ground)][:3] == list(channels(theme.page))


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_prints_whole_and_on_white_also_where_the_screen_is_dark(chromium, pages, kind):
    chromium.show(pages[kind], width=688, dark=True, media="print")  # A4 less its margins, in CSS pixels
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 688
    wider = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 689).length"
    assert chromium.evaluate(wider) == 0
    assert all(is_light for _, is_light, _ in chromium.evaluate(IMAGES))
    ink = chromium.evaluate("getComputedStyle(document.body).color")
    assert [int(part) for part in re.findall(r"\d+", ink)] == list(channels(LIGHT.ink))
    printed = chromium.printed()
    assert printed.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 25


@pytest.mark.parametrize("kind", [OFTEN[0], *slow(*OFTEN[1:], *SELDOM)])
def test_no_script_in_a_name_runs(chromium, pages, kind):
    chromium.show(pages[kind], width=1280)
    assert chromium.evaluate("document.scripts.length") == 0
    assert chromium.evaluate("document.title") != "taken"
    assert chromium.evaluate("[...document.images].every(image => image.src.startsWith('data:'))")
    assert chromium.evaluate("document.querySelectorAll('[onerror], [onload], [onclick]').length") == 0


@pytest.mark.parametrize("kind", ["labelled", *slow("large sweep")])
def test_what_is_folded_away_opens_and_is_whole_too(chromium, pages, kind):
    chromium.show(pages[kind], width=390)
    assert chromium.evaluate("document.querySelectorAll('details').length") >= 2
    chromium.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert chromium.evaluate(FAULTS) == []


def test_the_page_of_a_real_sweep_ranks_it_and_links_to_the_pages_that_are_there(chromium, pages):
    page = pages["sweep"]
    content = json.loads((page.parent / "sweep.json").read_text())
    assert all(row["test"] == {} for row in content["jobs"])
    best = max(content["groups"], key=lambda group: group["val"]["accuracy"]["mean"])
    job = min(best["jobs"], key=lambda name: -score_of(content, name))
    (page.parent / job / "report.html").write_text("<!DOCTYPE html><title>job</title>")
    write(page.parent)
    chromium.show(page, width=1280)
    assert chromium.evaluate("document.querySelector('.figure').textContent").startswith(
        f"{best['val']['accuracy']['mean']:.4f}"
    )
    assert "No test split was scored" in chromium.evaluate("document.body.textContent")
    links = chromium.evaluate("[...document.querySelectorAll('a')].map(link => link.getAttribute('href'))")
    assert set(links) == {f"{job}/report.html"}


def score_of(content: dict, name: str) -> float:
    return next(row["val"]["accuracy"] for row in content["jobs"] if row["folder"] == name)
