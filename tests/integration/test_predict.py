"""``cellstate predict``: a file's own keys, and beside them what the model says of the same windows and sequences."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.conftest import TINY, Command, hours

import cellstate as package

SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "backbone.hidden_size=6", "report=false")
HORIZON, WINDOW = 6, 48


def trained(folder: Path, *words: str) -> package.Run:
    """Train for a moment."""
    return package.train([*words, *SHORT, f"hydra.run.dir={folder / 'run'}"])


def shops(count: int = 400) -> pl.DataFrame:
    """Two series with an id, a column known ahead and one known in the past, their rows interleaved."""
    rows = [
        (shop, time, 100.0 * (shop == "B") + (7 * hour * hour) % 24 + 0.5, hour % 5, (3 * hour) % 11)
        for hour, time in enumerate(hours(count))
        for shop in "AB"
    ]
    return pl.DataFrame(rows, schema=["shop", "time", "load", "price", "wind"], orient="row")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> package.Run:
    """A forecaster of quantiles that looks at covariates, the calendar and two series."""
    folder = tmp_path_factory.mktemp("series")
    shops().write_csv(folder / "shops.csv")
    columns = ["data.target=load", "data.id=shop", "data.known=price", "data.past=wind", "data.calendar=true"]
    sizes = [f"data.window={WINDOW}", f"data.horizon={HORIZON}", "model.head=quantile"]
    return trained(folder, "experiment=series", f"data.path={folder / 'shops.csv'}", *columns, *sizes)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> package.Run:
    """A classifier of sequences of unequal lengths and two features."""
    folder = tmp_path_factory.mktemp("labelled")
    chance = np.random.default_rng(0)
    rows = [
        (f"walk {number}", step, "up" if number % 2 else "down", chance.normal(), chance.normal() + number % 2)
        for number in range(40)
        for step in range(5 + number % 7)
    ]
    table = pl.DataFrame(rows, schema=["id", "time", "label", "x", "y"], orient="row")
    table.write_csv(folder / "walks.csv")
    return trained(folder, "data=labelled", "model=lstm_classifier", f"data.path={folder / 'walks.csv'}")


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> package.Run:
    """A model of the next state, of lines of unequal lengths."""
    folder = tmp_path_factory.mktemp("states")
    chance = np.random.default_rng(0)
    lines = [" ".join(chance.choice(["sun", "rain", "fog"], size=3 + number % 5)) for number in range(120)]
    (folder / "weather.txt").write_text("\n".join(lines))
    return trained(folder, "data=states", "model=next_state", f"data.path={folder / 'weather.txt'}")


def predicted(cellstate: Command, run: package.Run, path: str, output: str = "out.csv") -> pl.DataFrame:
    """Predict from a file, and return the table that was written."""
    Path(output).unlink(missing_ok=True)
    answer = cellstate("predict", f"checkpoint={run.folder}", f"input={path}", f"output={output}")
    table = pl.read_parquet(output) if output.endswith("parquet") else pl.read_csv(output, try_parse_dates=True)
    said = f"{table.height:,} row{'s' if table.height != 1 else ''} -> {output}\n"
    assert (answer.status, answer.stdout, answer.stderr) == (0, said, "")
    return table


def ahead(table: pl.DataFrame, known: int) -> pl.DataFrame:
    """The same table, its last hours without what is not known ahead."""
    late = pl.col("time") > table["time"].max() - timedelta(hours=known)
    return table.with_columns(pl.when(late).then(None).otherwise(pl.col(name)).alias(name) for name in ("load", "wind"))


# ---------------------------------------------------------------------- series


def test_a_forecast_is_that_of_the_window_that_training_had_there(cellstate: Command, series: package.Run) -> None:
    ahead(shops(), HORIZON).write_csv("input.csv")
    found = predicted(cellstate, series, "input.csv")
    assert found.columns == ["shop", "time", "load", *(f"load_q{level:g}" for level in series.model.kind.levels)]
    assert found["shop"].to_list() == ["A"] * HORIZON + ["B"] * HORIZON
    assert found["time"].to_list() == hours(400)[-HORIZON:] * 2

    # The last window of each series as the datamodule cuts, scales and completes it, and the model's answer to that.
    samples, spec = series.data.prepared.splits["test"], series.data.spec
    ends = [len(samples) // 2 - 1, len(samples) - 1]
    with torch.no_grad():
        quantiles = series.model(samples.batch(torch.tensor(ends)).inputs).double().numpy()[:, :, 0]
    expected = quantiles * spec.std[0] + spec.mean[0]
    for place, level in enumerate(series.model.kind.levels):
        np.testing.assert_allclose(found[f"load_q{level:g}"].to_numpy(), expected[..., place].ravel(), rtol=1e-5)
    assert found["load"].to_list() == found["load_q0.5"].to_list()


def test_a_series_shorter_than_a_window_is_forecast_from_all_that_it_has(
    cellstate: Command, series: package.Run
) -> None:
    table = ahead(shops(), HORIZON)
    short = table.filter((pl.col("shop") != "A") | (pl.col("time") >= pl.col("time").max() - timedelta(hours=35)))
    short.write_csv("short.csv")
    found = predicted(cellstate, series, "short.csv")
    table.write_csv("long.csv")
    whole = predicted(cellstate, series, "long.csv")
    for shop, same in (("A", False), ("B", True)):
        one, other = (part.filter(pl.col("shop") == shop) for part in (found, whole))
        assert one["time"].to_list() == other["time"].to_list()
        assert np.isfinite(one["load"].to_numpy()).all()
        assert (one["load"].to_list() == pytest.approx(other["load"].to_list(), rel=1e-4)) == same


def test_what_comes_before_the_window_and_the_form_of_the_file_change_nothing(
    cellstate: Command, series: package.Run
) -> None:
    table = ahead(shops(), HORIZON)
    table.write_csv("whole.csv")
    whole = predicted(cellstate, series, "whole.csv")
    table.filter(pl.col("time") >= hours(400)[400 - HORIZON - WINDOW]).write_parquet("short.parquet")
    short = predicted(cellstate, series, "short.parquet", "out.parquet")
    assert whole.columns == short.columns
    assert short["time"].dtype == pl.Datetime("us")
    for name in whole.columns:
        one, other = whole[name].to_list(), short[name].to_list()
        assert one == (pytest.approx(other) if "load" in name else other)


def monthly(folder: Path, times: list[date]) -> package.Run:
    values = [float((number * number) % 17) for number in range(len(times))]
    pl.DataFrame({"month": times, "sold": values}).write_csv(folder / "sales.csv")
    words = ["data.window=24", "data.horizon=4", "model.segment=1"]
    return trained(folder, "experiment=series", f"data.path={folder / 'sales.csv'}", *words)


@pytest.mark.parametrize(
    ("first", "day_after"),
    [(date(2000, 1, 1), [date(2020, month, 1) for month in (5, 6, 7, 8)]),
     (date(2000, 1, 31), [date(2020, 5, 31), date(2020, 6, 30), date(2020, 7, 31), date(2020, 8, 31)])],
)  # fmt: skip
def test_months_go_on_as_months(cellstate: Command, tmp_path: Path, first: date, day_after: list[date]) -> None:
    times = pl.select(pl.lit(first).dt.offset_by(pl.format("{}mo", pl.int_range(244)))).to_series().to_list()
    assert times[-1].month == 4
    run = monthly(tmp_path, times)
    found = predicted(cellstate, run, str(tmp_path / "sales.csv"))
    assert found.columns == ["month", "sold"]
    assert found["month"].to_list() == day_after
    history = pl.read_csv(tmp_path / "sales.csv")["sold"].to_list()
    np.testing.assert_allclose(found["sold"].to_numpy(), run.model.predict(history), rtol=1e-9)


# ---------------------------------------------------------------------- sequences


def test_classes_of_a_table_without_labels_stand_beside_its_ids(cellstate: Command, labelled: package.Run) -> None:
    chance = np.random.default_rng(1)
    walks = {name: chance.normal(size=(length, 2)) for name, length in (("c", 4), ("a", 9), ("b", 1))}
    rows = [(name, step, *values) for name, walk in walks.items() for step, values in enumerate(walk)]
    table = pl.DataFrame(rows, schema=["id", "time", "x", "y"], orient="row")
    table.write_csv("walks.csv")
    found = predicted(cellstate, labelled, "walks.csv")
    assert found.columns == ["id", "label", "probability_down", "probability_up"]
    assert found["id"].to_list() == ["c", "a", "b"]
    for row in found.iter_rows(named=True):
        alone = labelled.model.predict(walks[row["id"]])
        assert row["label"] == str(alone["labels"])
        assert [row["probability_down"], row["probability_up"]] == pytest.approx(alone["probabilities"], rel=1e-5)

    # Neither the order of rows nor that of columns, nor labels that are there, change what is said of a walk.
    mixed = table.select("y", "time", pl.lit("up").alias("label"), "id", "x").sample(fraction=1, shuffle=True, seed=0)
    mixed.write_parquet("mixed.parquet")
    again = predicted(cellstate, labelled, "mixed.parquet", "out.parquet").sort("id")
    for name, column in again.to_dict().items():
        one, other = column.to_list(), found.sort("id")[name].to_list()
        assert one == (pytest.approx(other, rel=1e-5) if "probability" in name else other)


def test_more_sequences_than_are_predicted_at_once_keep_their_order(
    cellstate: Command, labelled: package.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = Path(labelled.config["data"]["path"])
    whole = predicted(cellstate, labelled, str(walks))
    monkeypatch.setattr("cellstate.model.inputs.ROWS", 7)
    parts = predicted(cellstate, labelled, str(walks))
    assert whole["id"].to_list() == parts["id"].to_list() == [f"walk {number}" for number in range(40)]
    np.testing.assert_allclose(whole["probability_up"].to_numpy(), parts["probability_up"].to_numpy(), rtol=1e-5)


def test_the_next_state_of_each_line_stands_beside_its_number(cellstate: Command, states: package.Run) -> None:
    Path("new.txt").write_text("sun rain fog\n\nrain\nfog fog sun sun\n")
    found = predicted(cellstate, states, "new.txt")
    assert found.columns == ["line", "next_state", "probability_fog", "probability_rain", "probability_sun"]
    assert found["line"].to_list() == [1, 3, 4]
    for row, line in zip(found.iter_rows(named=True), ("sun rain fog", "rain", "fog fog sun sun"), strict=True):
        alone = states.model.predict(line.split())
        assert row["next_state"] == str(alone["states"][0])
        shown = [row[f"probability_{state}"] for state in ("fog", "rain", "sun")]
        assert shown == pytest.approx(alone["probabilities"][0], rel=1e-5)
        assert sum(shown) == pytest.approx(1)
        assert row[f"probability_{row['next_state']}"] == max(shown)


# ---------------------------------------------------------------------- mistakes


def refused(cellstate: Command, run: package.Run, complaint: str, *words: str, output: str = "output=out.csv") -> None:
    """Hold that a request is refused in one line, and that nothing is written."""
    before = sorted(Path.cwd().iterdir())
    answer = cellstate("predict", f"checkpoint={run.folder}", *words, output)
    assert (answer.status, answer.stdout) == (2, "")
    (line,) = answer.errors
    assert line.startswith("cellstate: error: ")
    assert complaint in line
    assert sorted(Path.cwd().iterdir()) == before


def test_series_that_cannot_be_forecast_are_refused_by_name(cellstate: Command, series: package.Run) -> None:
    good = ahead(shops(), HORIZON)
    for name, table, complaint in (
        ("no_column.csv", good.drop("load"), "no_column.csv: no column 'load' for data.target"),
        ("no_price.csv", good.drop("price"), "no_price.csv: no column 'price' for data.known"),
        ("no_shop.csv", good.drop("shop"), "no_shop.csv: no column 'shop' for data.id"),
        ("ends.csv", shops(), "price must be known for the 6 steps to forecast, but only 0 rows of series 'A'"),
        ("few.csv", good.tail(50), "few.csv: 19 rows of series 'A' are too few: the model needs at least 24"),
        ("empty.csv", good.with_columns(load=pl.lit(None)), "empty.csv: no row of series 'A' has a value of load"),
        ("hole.csv", good.filter(pl.col("time") != datetime(2026, 1, 3)), "hole.csv, line 98: a gap in the series"),
    ):
        table.write_csv(name)
        refused(cellstate, series, complaint, f"input={name}")


def test_a_file_of_another_layout_is_told_which_one_the_model_knows(cellstate: Command, series: package.Run) -> None:
    pl.DataFrame({"name": ["A", "B"], **{f"V{day}": [1.0 * day, 2.0] for day in range(1, 400)}}).write_csv("wide.csv")
    answer = cellstate("predict", f"checkpoint={series.folder}", "input=wide.csv", "output=out.csv")
    assert answer.errors == [
        "cellstate: error: wide.csv: has another layout than the training file, which has a row per time step with "
        "data.id=shop and data.target=load; give such a file (columns here: "
        "name, V1, V2, V3, V4, V5, V6, V7 and 392 more)"
    ]


def test_sequences_that_do_not_fit_are_refused_by_name(
    cellstate: Command, labelled: package.Run, states: package.Run
) -> None:
    Path("a.csv").write_text("id,x\n1,2\n1,3\n")
    refused(cellstate, labelled, "a.csv: no column 'y' for data.features", "input=a.csv")
    Path("b.csv").write_text("x,y\n1,2\n1,3\n")
    refused(cellstate, labelled, "b.csv: which column identifies the sequence?", "input=b.csv")
    Path("c.csv").write_text("id,x,y\n1,2,\n1,3,4\n")
    refused(cellstate, labelled, "c.csv, line 2: column 'y' has no value", "input=c.csv")
    Path("d.csv").write_text("id,x,y\n1,2,many\n1,3,4\n1,3,4\n")
    refused(cellstate, labelled, "d.csv, line 2: column 'y' contains 'many', which is not a number", "input=d.csv")
    Path("e.txt").write_text("sun fog\n\nsun hail\n")
    unknown = "e.txt, line 3: sequence 2, step 2: the state 'hail' is unknown to the model"
    refused(cellstate, states, unknown, "input=e.txt")


def test_requests_that_cannot_be_met_are_refused_before_anything_is_predicted(
    cellstate: Command, states: package.Run
) -> None:
    Path("weather.txt").write_text("sun rain\n")
    Path("old.csv").write_text("kept")
    refused(cellstate, states, "output=old.csv: already exists;", "input=weather.txt", output="output=old.csv")
    refused(cellstate, states, "output=out.txt: unknown file format", "input=weather.txt", output="output=out.txt")
    refused(cellstate, states, "no such folder: nowhere", "input=weather.txt", output="output=nowhere/out.csv")
    refused(cellstate, states, "input=wether.txt: no such file; did you mean 'weather.txt'?", "input=wether.txt")
    refused(
        cellstate,
        states,
        "input: required: file to predict from, in the format of the training file; cellstate predict checkpoint=RUN",
    )
    assert Path("old.csv").read_text() == "kept"
    words = (f"checkpoint={states.folder}", "input=weather.txt", "output=old.csv", "overwrite=true")
    assert cellstate("predict", *words).status == 0
    assert Path("old.csv").read_text().startswith("line,next_state,")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["old.csv", "weather.txt"]


def test_models_without_a_table_are_pointed_elsewhere(
    cellstate: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    limits = ("trainer.limit_val_batches=1", "data.steps=8")
    run = trained(folder, "experiment=char_lm", *limits)
    Path("new.txt").write_text("sun rain\n")
    refused(
        cellstate,
        run,
        "a language model, which does not predict a table; use",
        "input=new.txt",
    )


def test_a_model_of_a_synthetic_task_reads_a_file_too(
    cellstate: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = package.train(["experiment=pattern", *TINY, f"hydra.run.dir={tmp_path_factory.mktemp('run') / 'run'}"])
    bits = {"p": [0, 1, 1, 0, 1], "q": [0] * 20}
    rows = [(name, bit) for name, row in bits.items() for bit in row]
    pl.DataFrame(rows, schema=["id", "bit"], orient="row").write_csv("bits.csv")
    found = predicted(cellstate, run, "bits.csv")
    assert found["id"].to_list() == ["p", "q"]
    shown = found.select(pl.col("^probability_.*$")).to_numpy()
    for row, name in zip(shown, bits, strict=True):
        np.testing.assert_allclose(row, run.model.predict(bits[name])["probabilities"], rtol=1e-5)
