"""The page of a sweep: true ranks and intervals, nothing misleading, whatever the jobs are."""

from __future__ import annotations

import itertools
import math
import random
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from tests.sweeps import job, unfinished, write_sweep
from tests.unit.test_report import Page, assert_legible

from cellstate.plotting.theme import LIGHT
from cellstate.report.sweep import board, curves, effects, importance, parallel, searching, tradeoffs, write
from cellstate.report.sweep.reading import Sweep, read

HOSTILE = "<script>alert('$x_1$')</script>&amp;"


def sweep_of(folder: Path, rows: list[dict[str, Any]], metric: str = "val/loss") -> Sweep:
    return read(write_sweep(folder, rows), metric, None)


def grid(effect: dict[str, float], noise: float, seeds: int = 3) -> list[dict[str, Any]]:
    """Jobs of a full grid whose loss is the sum of its values' effects and of noise."""
    draws = random.Random(0)
    kinds, rates = ("rnn", "lstm", "gru"), (0.001, 0.01, 0.1)
    return [
        job(
            {"backbone": kind, "optimizer.lr": rate},
            seed=seed,
            val={"loss": 1 + effect.get(kind, 0) + effect.get(str(rate), 0) + noise * draws.gauss(0, 1)},
            parameters=100 * (1 + kinds.index(kind)),
            seconds={"fit": draws.uniform(1, 30), "test": 0, "total": 40},
        )
        for kind, rate, seed in itertools.product(kinds, rates, range(seeds))
    ]


def drawings_of(sweep: Sweep) -> list[Any]:
    important = importance.importances(sweep)
    return [
        *board.drawing(sweep, "loss"),
        *parallel.drawing(sweep, "loss", important),
        *importance.drawing(sweep, important),
        *effects.drawing(sweep, "loss", important),
        *curves.drawings(sweep, "loss"),
        *tradeoffs.drawings(sweep, "loss"),
    ]


def test_a_configuration_has_one_hue_in_all_figures(tmp_path):
    rows = [
        row
        for row in grid({"rnn": -0.5, "lstm": 0.5, "gru": 1.0}, noise=0.05)
        if row["overrides"]["optimizer.lr"] == 0.01
    ]
    for row in rows:
        del row["overrides"]["optimizer.lr"]
    sweep = sweep_of(tmp_path, rows)
    for row in rows:
        folder = tmp_path / row["folder"]
        folder.mkdir(exist_ok=True)
        (folder / "metrics.csv").write_text("epoch,step,val/loss\n0,10,2\n1,20,1\n")
    hues = []
    for drawing in (*curves.drawings(sweep, "loss"), *tradeoffs.drawings(sweep, "loss")):
        with matplotlib.rc_context(LIGHT.rc()):
            figure = drawing.draw(LIGHT)
        texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
        hues.append(
            {text.get_text().split()[1]: text.get_color() for text in texts if len(text.get_text().split()) == 2}
        )
    assert len(hues) >= 3
    for name in ("rnn", "lstm", "gru"):
        assert len({str(own[name]) for own in hues}) == 1, name


def test_of_several_objectives_the_front_is_listed():
    trial = {"search": "all data", "state": "complete", "reason": None}
    search = {
        "objectives": ["val/loss", "seconds"], "scores": {}, "best": [0, 2],
        "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
        "trials": [
            {**trial, "number": number, "params": {"optimizer.lr": 0.01}, "values": values}
            for number, values in enumerate([(0.1, 9.0), (0.2, 10.0), (0.3, 1.0)])
        ],
    }  # fmt: skip
    front, every = searching.tables(search, 10, lambda key: key.rpartition(".")[2])
    assert [row[:3] for row in front.rows] == [["0", "0.1", "9"], ["2", "0.3", "1"]]
    assert len(every.rows) == 3


def test_a_rate_that_was_searched_on_a_log_scale_lies_on_one(tmp_path):
    rows = [job({"optimizer.lr": rate}, val={"loss": loss}) for rate, loss in ((0.001, 1.0), (0.01, 2.0), (0.1, 3.0))]
    sweep = sweep_of(tmp_path, rows)
    sweep.content["search"] = {"space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}}}
    assert parallel.scale_of(sweep, "optimizer.lr").places == pytest.approx([0, 0.5, 1])
    sweep.content["search"] = {"space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": False}}}
    assert parallel.scale_of(sweep, "optimizer.lr").places == pytest.approx([0, 1 / 11, 1])


def assert_drawn(sweep: Sweep) -> None:
    for drawing in drawings_of(sweep):
        with matplotlib.rc_context(LIGHT.rc()):
            figure = drawing.draw(LIGHT)
            figure.canvas.draw()
        if drawing.name != "parallel_coordinates":  # whose names lie on the lines' way, on a ground of their own
            assert_legible(figure)


# ---------------------------------------------------------------------- ranks


@pytest.mark.parametrize(("metric", "best"), [("accuracy", "b"), ("loss", "a")])
def test_the_best_is_the_highest_accuracy_and_the_lowest_loss(tmp_path, metric, best):
    rows = [
        job({"name": "a"}, seed=seed, val={"accuracy": 0.6 + 0.01 * seed, "loss": 0.1 + 0.01 * seed})
        for seed in range(3)
    ]
    rows += [
        job({"name": "b"}, seed=seed, val={"accuracy": 0.8 + 0.01 * seed, "loss": 0.5 + 0.01 * seed})
        for seed in range(3)
    ]
    sweep = sweep_of(tmp_path, rows, metric)
    assert sweep.groups[0].name == best
    line = next(line for line in board.lines(sweep) if line.kind == "best")
    mean = 0.81 if metric == "accuracy" else 0.11
    # Student's interval of three values: t(0.975, 2) = 4.3027, s = 0.01.
    assert line.cells[0] == (f"{mean:.4f}", f"± {4.302652730 * 0.01 / math.sqrt(3):.4f}")
    assert line.repeats == "3 of 3"


def test_a_configuration_without_a_finite_score_is_last_and_is_never_the_best(tmp_path):
    rows = [job({"name": "nan"}, seed=seed, val={"loss": None}) for seed in range(2)]  # as JSON has no NaN
    rows += [job({"name": "half"}, seed=0, val={"loss": None}), job({"name": "half"}, seed=1, val={"loss": 9.0})]
    rows += [unfinished({"name": "failed"}, "failed", "RunError: the loss is not finite", seed=0)]
    rows += [job({"name": "good"}, seed=seed, val={"loss": 1.0 + seed}) for seed in range(2)]
    sweep = sweep_of(tmp_path, rows)
    assert [group.name for group in sweep.groups][:2] == ["good", "half"]
    assert [group.name for group in sweep.scored] == ["good", "half"]
    found = Page(write(tmp_path).read_text(encoding="utf-8"))
    assert "the loss is not finite" in found.text
    assert "nan" not in found.text.replace("name=nan", "").split()
    assert "The best of 2 configurations" in found.text
    assert_drawn(sweep)


def test_a_group_that_misses_seeds_says_which(tmp_path):
    rows = [job({"name": "a"}, seed=seed, val={"loss": 1.0}) for seed in range(3)]
    rows += [job({"name": "b"}, seed=0, val={"loss": 2.0}), unfinished({"name": "b"}, "interrupted", seed=1)]
    lines = {line.name: line for line in board.lines(sweep_of(tmp_path, rows))}
    assert (lines["a"].repeats, lines["a"].missing) == ("3 of 3", "")
    assert (lines["b"].repeats, lines["b"].missing) == ("1 of 3", "seed=1, seed=2")


def test_where_intervals_overlap_the_page_does_not_call_one_better(tmp_path):
    rows = [job({"name": "a"}, seed=seed, val={"loss": 1.0 + seed}) for seed in range(3)]
    rows += [job({"name": "b"}, seed=seed, val={"loss": 1.1 + seed}) for seed in range(3)]
    rows += [job({"name": "c"}, seed=seed, val={"loss": 90.0 + 0.1 * seed}) for seed in range(3)]
    text = Page(write(write_sweep(tmp_path, rows)).read_text(encoding="utf-8")).text
    assert "The 95 % interval of 1 other overlaps with its own: it is not clearly worse." in text
    once = [job({"name": name}, val={"loss": loss}) for name, loss in (("a", 1.0), ("b", 2.0))]
    text = Page(write(write_sweep(tmp_path, once)).read_text(encoding="utf-8")).text
    assert "Each configuration ran once" in text


def test_a_locked_test_split_is_told_and_a_scored_one_is_ranked_by(tmp_path):
    rows = [job({"name": name}, val={"loss": loss}) for name, loss in (("a", 1.0), ("b", 2.0))]
    assert "No test split was scored" in write(write_sweep(tmp_path, rows)).read_text()
    tested = [{**row, "test": {"loss": 3 - row["val"]["loss"]}} for row in rows]
    page = write(write_sweep(tmp_path, tested)).read_text()
    assert "No test split was scored" not in page
    assert "The best of 2 configurations by test loss: b." in page


# ---------------------------------------------------------------------- what mattered


def test_the_parameter_that_makes_the_difference_is_the_most_important_and_a_seed_is_chance(tmp_path):
    found = importance.importances(sweep_of(tmp_path, grid({"rnn": 1.0, "lstm": 0.5}, noise=0.05)))
    assert found[0].key == "backbone"
    assert found[0].share > max(0.6, found[0].chance)
    assert {one.key for one in found if one.share > one.chance} == {"backbone"}
    assert [one.key for one in found if one.repeats] == ["seed"]
    assert sum(one.share for one in found) == pytest.approx(1)


def test_a_number_on_a_range_can_be_the_most_important_too(tmp_path):
    found = importance.importances(sweep_of(tmp_path, grid({"0.001": 1.0, "0.1": 1.0}, noise=0.05)))
    assert found[0].key == "optimizer.lr"
    assert found[0].share > found[0].chance


def test_where_nothing_matters_importance_stays_within_chance(tmp_path):
    beyond = 0
    for number in range(10):
        draws = random.Random(number)
        rows = [{**row, "val": {"loss": draws.gauss(0, 1)}} for row in grid({}, 0.0)]
        beyond += sum(one.share > one.chance for one in importance.importances(sweep_of(tmp_path, rows)))
    assert beyond <= 6  # of 30, of which 5 % are expected: more than 6 have a chance of 0.3 %


def test_too_few_or_equal_scores_have_no_importance(tmp_path):
    rows = grid({"rnn": 1.0}, 0.1)
    assert importance.importances(sweep_of(tmp_path, rows[:5])) == []
    assert importance.importances(sweep_of(tmp_path, [{**row, "val": {"loss": 1.0}} for row in rows])) == []
    for keys in ({}, {"name": "a"}):  # of a seed alone, or one parameter alone, there is nothing to compare
        rows = [job({**keys, "part": part}, val={"loss": 1.0 + part}) for part in range(9)]
        assert importance.importances(sweep_of(tmp_path, rows)) == []


def test_the_mean_by_value_is_the_mean_of_its_configurations(tmp_path):
    sweep = sweep_of(tmp_path, grid({"rnn": 1.0}, noise=0.3))
    values = {value.name: value.mean for block in effects.values_of(sweep, []) for value in block}
    for kind in ("rnn", "lstm", "gru"):
        scores = [row["val"]["loss"] for row in sweep.rows if row["overrides"]["backbone"] == kind]
        assert values[kind] == pytest.approx(sum(scores) / len(scores))


def test_the_line_of_costs_joins_what_is_best_for_its_cost(tmp_path):
    rows = [
        job({"name": str(place)}, val={"loss": loss}, parameters=cost)
        for place, (cost, loss) in enumerate([(1, 9.0), (2, 5.0), (3, 7.0), (4, 5.0), (5, 1.0), (5, 2.0)])
    ]
    points = tradeoffs.points_of(sweep_of(tmp_path, rows), "parameters", None)
    assert [(point.cost, point.score) for point in points if point.front] == [(1, 9.0), (2, 5.0), (5, 1.0)]


# ---------------------------------------------------------------------- of any kind


def test_text_from_outside_stays_text_on_the_page_of_a_sweep(tmp_path):
    rows = [job({HOSTILE: HOSTILE + str(number), "other": [1, None]}, seed=number % 2, val={"loss": 1.0 + number})
            for number in range(6)]  # fmt: skip
    rows += [unfinished({HOSTILE: HOSTILE}, "failed", HOSTILE)]
    place = write_sweep(tmp_path / "<b>&", rows, commands=[["cellstate", "train", f"{HOSTILE}=1", "\x1b[0m"]])
    page = write(place)
    found = Page(page.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in found.elements if tag in ("script", "b", "i")]
    assert HOSTILE in found.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", found.text)
    assert_drawn(read(place, None, None))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [unfinished({"name": "a"}, "pending")],
        [unfinished({"name": "a"}, "running"), unfinished({"name": "b"}, "failed", "no")],
        [job({}, val={"loss": 1.0})],
        [job({}, seed=seed, val={"loss": 1.0}) for seed in range(3)],
        [job({"name": "a"}, val={"loss": 0.0}), job({"name": "b"}, val={"loss": 0.0})],
        [job({"name": "a"}, val={"loss": -1e9}), job({"name": "b"}, val={"loss": 1e9})],
        [job({"name": "a"}, val={"loss": 1e-9}), job({"other": True}, val={"loss": 1e3})],
        [job({"name": name, "size": 2**place}, val={}) for place, name in enumerate("abc")],
        [job({"name": "a"}, val={"mae": 1.0}), job({"name": "b"}, val={"accuracy": 0.5})],
    ],
    ids=["empty", "pending", "failed", "one", "seeds", "zero", "huge", "other keys", "no scores", "other tasks"],
)
def test_a_sweep_of_any_jobs_has_a_page(tmp_path, rows):
    text = Page(write(write_sweep(tmp_path, rows)).read_text(encoding="utf-8")).text
    assert f"a sweep of {len(rows)} job" in text
    if rows and rows[0]["val"].get("loss") is not None:
        assert_drawn(read(tmp_path, "val/loss", None))


@pytest.mark.slow
def test_two_hundred_jobs_with_long_names_are_legible_and_all_listed(tmp_path):
    draws = random.Random(0)
    rows = [
        job(
            {
                "data.path": f"/a/very/long/path/to/a/file/of/some/data/{number % 9}/series.csv",
                "optimizer.lr": 10 ** draws.uniform(-4, -1),
                "model.dropout": draws.uniform(0, 0.5),
                "backbone.hidden_size": draws.choice([64, 128, 256, 512]),
                "backbone": draws.choice(["lstm", "gru"]),
                "a.key.whose.name.is.longer.than.any.label.can.be.in.a.figure": number % 3,
                **{f"more.key_{place}": draws.random() for place in range(5)},
            },
            val={"loss": draws.expovariate(1), "mae": draws.random()},
            parameters=draws.randint(1000, 10**7),
            seconds={"fit": draws.expovariate(0.01), "test": 1, "total": 2},
        )
        for number in range(200)
    ]
    page = write(write_sweep(tmp_path, rows))
    found = Page(page.read_text(encoding="utf-8"))
    assert page.stat().st_size < 3_000_000
    assert len([row for row in found.rows if row["class"] in ("", "run best")]) >= 2 * 200
    assert_drawn(read(tmp_path, None, None))


def test_the_files_of_the_figures_are_those_of_the_page(tmp_path):
    write_sweep(tmp_path, grid({"rnn": 1.0}, 0.1))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "of_an_older_page.png").write_bytes(b"")
    page = write(tmp_path).read_text()
    names = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert names == {
        *("leaderboard", "parallel_coordinates", "importance", "mean_by_value"),
        *("score_against_seconds", "score_against_parameters"),
    }
    assert page.count("<figure") == len(names)
