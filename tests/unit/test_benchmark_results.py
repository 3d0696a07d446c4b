"""Ranks, intervals and tables of a benchmark, computed independently of it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.test_report import Page, assert_legible, drawn

from cellstate.benchmarking import tables
from cellstate.benchmarking.outcome import of_dataset
from cellstate.benchmarking.ranks import ranked, ranks
from cellstate.benchmarking.request import Request
from cellstate.plotting.theme import THEMES
from cellstate.report.benchmark import write
from cellstate.report.benchmark.figures import drawings
from cellstate.report.benchmark.lines import left_out
from cellstate.report.benchmark.reading import Group, read

HOSTILE = "<script>alert('|$x_1$')</script>"


def test_ranks_of_ties_are_the_mean_of_their_places_in_all_orders() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        scores = random.integers(0, 4, size=6).astype(float)
        first, last = (np.argsort(np.argsort(scores[::way], kind="stable"))[::way] + 1 for way in (1, -1))
        assert ranks("mae", list(scores)) == list((first + last) / 2)  # each tie broken in both ways
        assert ranks("accuracy", list(-scores)) == list((first + last) / 2)


def test_the_rank_of_a_coverage_is_its_distance_from_the_nominal_one() -> None:
    assert ranks("coverage_90", [0.95, 0.9, 0.8, 0.85]) == [2.5, 1, 4, 2.5]


def test_scores_that_differ_by_the_rounding_of_their_means_are_ties() -> None:
    assert ranks("mae", [0.1 + 0.2, 0.3]) == [1.5, 1.5]


def request_of(datasets: dict[str, Any], methods: tuple[str, ...] = ("ours", "theirs")) -> Request:
    return Request.model_validate({"seeds": [0, 1, 2], "methods": {name: [] for name in methods}, "datasets": datasets})


def run(dataset: str, method: str, seed: int, score: float, reference: dict[str, float], metric: str = "accuracy"):
    return {
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "status": "complete",
        "reason": None,
        "folder": f"runs/{method}/{seed}",
        "headline": {"metric": metric, "label": metric},
        "test": {metric: score, "loss": 2 * score},
        "reference": {metric: reference},
        "parameters": 1234,
        "seconds": {"fit": 10.0 + seed, "whole": 20.0, "cpu": 5.0},
        "memory": 100.0,
        "log": "",
    }


def not_run(dataset: str, method: str, seed: int) -> dict[str, Any]:
    return {
        **run(dataset, method, seed, 0.0, {}),
        **{"status": "failed", "reason": "why", "headline": None, "test": {}, "reference": {}, "memory": None},
        **{"parameters": None, "seconds": {"fit": None, "whole": None, "cpu": None}},
    }


@pytest.fixture
def dataset() -> dict[str, Any]:
    published = [
        {"name": "MiniRocket", "score": 0.95, "source": HOSTILE, "also": {"loss": 0.1}},
        {"name": "ceiling", "score": 0.99, "source": "theory", "optimum": True},
    ]
    request = request_of({HOSTILE: {"overrides": ["a=1"], "published": published, "also": ["loss"]}})
    reference = {"optimum": 1.0, "nearest_neighbour": 0.8}
    runs = [run(HOSTILE, "ours", seed, score, reference) for seed, score in enumerate((0.9, 0.93, 0.96))]
    runs += [run(HOSTILE, "theirs", 0, 0.7, reference), not_run(HOSTILE, "theirs", 1), not_run(HOSTILE, "theirs", 2)]
    return dict(of_dataset(request, HOSTILE, runs))


def row(dataset: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [row for row in dataset["rows"] if row["name"] == name]
    return found


def test_a_method_has_the_mean_over_its_seeds_with_students_interval(dataset: dict[str, Any]) -> None:
    score = row(dataset, "ours")["score"]
    assert score["mean"] == pytest.approx(0.93, abs=1e-15)
    # The quantile of Student's t with two degrees of freedom is sqrt(2 (1 - a)^2 / (a (2 - a))), here for a = 0.05.
    quantile = math.sqrt(2 * 0.95**2 / (0.05 * 1.95))
    assert score["high"] - score["mean"] == pytest.approx(quantile * 0.03 / math.sqrt(3), rel=1e-9)
    assert row(dataset, "ours")["seconds"] == {"fit": 11.0, "whole": 20.0, "cpu": 5.0}


def test_one_seed_has_no_interval_and_the_others_are_named_as_missing(dataset: dict[str, Any]) -> None:
    found = row(dataset, "theirs")
    assert (found["score"]["mean"], found["score"]["low"], found["seeds"]) == (0.7, None, [0])
    assert found["missing"] == [{"seed": seed, "status": "failed", "reason": "why"} for seed in (1, 2)]


def test_the_best_predictor_of_each_metric_is_marked_and_an_optimum_never_is(dataset: dict[str, Any]) -> None:
    assert [one["name"] for one in dataset["rows"]] == [
        *("optimum", "ceiling", "MiniRocket", "ours", "nearest neighbour", "theirs")
    ]
    assert {one["name"]: one["best"] for one in dataset["rows"] if one["best"]} == {"MiniRocket": ["accuracy", "loss"]}


def group_of(*scores: dict[str, float], metrics: tuple[str, ...]) -> list[dict[str, Any]]:
    found = []
    for number, (own, metric) in enumerate(zip(scores, metrics, strict=True)):
        name = f"set {number}"
        reference = {key: value for key, value in own.items() if key not in ("ours", "theirs")}
        runs = [run(name, method, 0, own[method], reference, metric) for method in ("ours", "theirs") if method in own]
        found.append(dict(of_dataset(request_of({name: {"overrides": []}}), name, runs)))
    return found


def test_mean_ranks_take_the_direction_of_each_metric_and_only_predictors_with_all_scores() -> None:
    found = ranked(
        group_of(
            {"ours": 0.9, "theirs": 0.8, "naive": 0.8, "ridge": 0.95, "optimum": 1.0},
            {"ours": 2.0, "theirs": 3.0, "naive": 1.0},
            metrics=("accuracy", "mae"),
        )
    )
    assert {one["name"]: one["rank"] for one in found["rows"]} == {"ours": 1.5, "naive": 1.75, "theirs": 2.75}
    assert [one["score"] for one in found["rows"]] == [None, None, None]  # of different metrics
    assert found["left_out"] == [{"kind": "reference", "name": "ridge", "lacks": ["set 1"]}]


def test_scores_in_the_units_of_the_data_are_not_averaged_over_data_sets() -> None:
    found = ranked(group_of({"ours": 1.0, "naive": 2.0}, {"ours": 500.0, "naive": 400.0}, metrics=("mae", "mae")))
    assert [(one["rank"], one["score"]) for one in found["rows"]] == [(1.5, None), (1.5, None)]
    assert found["metric"] is None


def test_a_data_set_without_a_complete_run_does_not_count() -> None:
    sets = group_of({"ours": 0.9, "naive": 0.8}, {"ours": 0.5, "naive": 0.7}, {}, metrics=("accuracy",) * 3)
    found = ranked(sets)
    assert found["datasets"] == ["set 0", "set 1"]
    assert {one["name"]: (one["rank"], one["score"]) for one in found["rows"]} == {
        "ours": (1.5, pytest.approx(0.7)),
        "naive": (1.5, pytest.approx(0.75)),
    }


def test_who_is_left_out_of_the_ranks_is_told_only_where_there_are_ranks() -> None:
    shared, apart = ({"ours": 0.9, "theirs": 0.8}, {"ours": 0.5}), ({"ours": 0.9}, {"theirs": 0.5})
    for scores, said in (
        (shared, "Not ranked, for want of a score on every data set: theirs (not on set 1)."),
        (apart, ""),
    ):
        assert left_out(Group({"name": "", **ranked(group_of(*scores, metrics=("accuracy",) * 2))}, ())) == said


def content(datasets: list[dict[str, Any]]) -> dict[str, Any]:
    runs = [
        {**run(one["name"], "ours", 0, 0.5, {}), "epochs": 1, "steps": 2, "resumed": 0, "words": []} for one in datasets
    ]
    return {
        **{"name": HOSTILE, "file": "mine.yaml", "seeds": [0, 1, 2], "overrides": [], "level": 0.95},
        **{"methods": {"ours": [], "theirs": ["a=1"]}, "machine": None, "device": None, "versions": None},
        **{"datasets": datasets, "groups": [{"name": "", **ranked(datasets)}], "runs": runs},
    }


def test_the_table_is_markdown_that_keeps_foreign_names_in_their_cells(dataset: dict[str, Any], tmp_path: Path) -> None:
    tables.write(tmp_path, content([dataset]))
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert any(line.startswith("| theirs (seeds 1, 2 failed) | 0.7000 |") for line in lines)
    assert "| *optimum* | 1.0000 |  |  |  |  |  |  |  |" in lines
    assert "| ours | 0.9300 ± 0.0745 | 1.8600 ± 0.1490 | 3 | 11.0 | 20.0 | 100 | 1,234 |  |" in lines
    assert any(line.startswith("| MiniRocket | **0.9500** | **0.1000** |") for line in lines)
    for _, block in itertools.groupby(lines, key=lambda line: line.startswith("|")):
        rows = [line.replace("\\|", "") for line in block]
        assert len({line.count("|") for line in rows if line.startswith("|")}) <= 1
    assert "<script>" not in "".join(lines).replace("\\<", "")


def test_the_page_shows_names_as_they_are_and_needs_nothing_but_itself(dataset: dict[str, Any], tmp_path: Path) -> None:
    tables.write(tmp_path, content([dataset]))
    text = write(tmp_path).read_text()
    page = Page(text)
    assert HOSTILE in page.text
    assert "<script" not in text
    assert "0.9300" in page.text
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == ["ranks.png", "relative.png"]


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_the_figures_are_legible(tmp_path: Path, theme) -> None:
    names = ["a very long name of a data set that nobody can draw", "b", "c"]
    sets = group_of(
        {"ours": 0.9, "theirs": 0.2, "naive": 0.8},
        {"ours": 2.0, "theirs": 3000.0, "naive": 1.0},
        {"ours": 2.0, "theirs": 3.0, "naive": 1.0},
        metrics=("accuracy", "mae", "mae"),
    )
    for one, name in zip(sets, names, strict=True):
        one["name"] = name
    tables.write(tmp_path, content(sets))
    found = drawings(read(tmp_path))
    assert [one.name for one in found] == ["relative", "ranks"]
    for drawing in found:
        assert_legible(drawn(drawing.draw, theme))
