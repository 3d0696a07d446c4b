"""Users' labelled sequences: what stands in a file is what is trained on, and what is wrong in it is told by line."""

from __future__ import annotations

import math
import sys
from collections import Counter
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch

import cellstate
from cellstate.backbone import GRU
from cellstate.data import LabelledData
from cellstate.data.files.labelled import shared_out
from cellstate.data.neighbour import nearest
from cellstate.errors import RequestError
from cellstate.model import Classifier

SPLITS = ("train", "val", "test")
HEADER = """\
# walks of two sensors
@problemName walks
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true left right
@data
"""


def written(path, text):
    path.write_text(text)
    return str(path)


def rows_of(data, split):
    """Return (values (T, F) in the file's own units, class) of each sequence of a split."""
    spec, samples = data.spec, data.prepared.splits[split]
    lengths = samples.lengths if samples.lengths is not None else torch.full((len(samples),), samples.inputs.shape[1])
    raw = samples.inputs.double().numpy() * np.array(spec.input_std) + np.array(spec.input_mean)
    triples = zip(raw, lengths.tolist(), samples.targets.tolist(), strict=True)
    return [(row[:length], spec.classes[number]) for row, length, number in triples]


def all_rows(data):
    return [row for split in data.prepared.splits for row in rows_of(data, split)]


def as_set(rows):
    return Counter(((np.round(values, 4) + 0.0).tobytes(), values.shape, label) for values, label in rows)


def made_up(count, features, shortest=2, longest=6, seed=0):
    """Random sequences of different length, of two classes, whose values have two decimals."""
    random = np.random.default_rng(seed)
    return [
        (
            np.round(random.normal(size=(random.integers(shortest, longest + 1), features)) * 3 + 1, 2) + 0.0,
            ("left", "right")[number % 2],
        )
        for number in range(count)
    ]


def ts_text(rows, header=HEADER):
    lines = [
        ":".join([*(",".join(f"{v:.2f}" for v in column) for column in values.T), label]) for values, label in rows
    ]
    return header + "\n".join(lines) + "\n"


def long_frame(rows, shuffle=None):
    """The table of some sequences: id, step, label, a, b."""
    cells = [
        {"id": f"s{number}", "step": step, "label": label, "a": row[0], "b": row[1]}
        for number, (values, label) in enumerate(rows)
        for step, row in enumerate(values)
    ]
    if shuffle is not None:
        np.random.default_rng(shuffle).shuffle(cells)
    return pl.DataFrame(cells)


# ---------------------------------------------------------------------- what is read


def test_ts_gives_the_values_and_classes_that_stand_there(tmp_path):
    rows = made_up(40, 2)
    data = LabelledData(path=written(tmp_path / "walks.ts", ts_text(rows)))
    assert as_set(all_rows(data)) == as_set(rows)
    assert (data.spec.input_size, data.spec.classes) == (2, ("left", "right"))


def test_ts_of_one_dimension_with_declared_order_of_classes_and_windows_line_ends(tmp_path):
    text = "@univariate true\r\n@classLabel true b a\r\n@data\r\n" + "1,2:a\r\n3,4:b\r\n" * 3
    data = LabelledData(path=written(tmp_path / "x.ts", text))
    assert data.spec.classes == ("b", "a")
    assert as_set(all_rows(data)) == as_set([(np.array([[1.0], [2]]), "a"), (np.array([[3.0], [4]]), "b")] * 3)


def test_tsv_ends_where_its_padding_begins(tmp_path):
    rows = made_up(30, 1)
    width = max(len(values) for values, _ in rows)
    lines = []
    for values, label in rows:
        cells = [f"{value:.2f}" for value in values[:, 0]] + ["NaN"] * (width - len(values))
        lines.append("\t".join(["-1" if label == "left" else "10", *cells]))
    data = LabelledData(path=written(tmp_path / "walks.tsv", "\n".join(lines)))
    assert data.spec.classes == ("-1", "10")  # in the order of numbers
    expected = [(values, {"left": "-1", "right": "10"}[label]) for values, label in rows]
    assert as_set(all_rows(data)) == as_set(expected)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("shuffle", [None, 3])
def test_tables_give_the_sequences_in_order_of_time_wherever_their_rows_stand(tmp_path, suffix, shuffle):
    rows = made_up(30, 2)
    frame, path = long_frame(rows, shuffle), tmp_path / f"walks{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if suffix == ".tsv" else ",")
    data = LabelledData(path=str(path), id="id", time="step")
    assert data.spec.feature_names == ("a", "b")
    assert as_set(all_rows(data)) == as_set(rows)


def test_a_table_without_time_is_read_in_the_order_of_its_rows_and_columns_can_be_chosen(tmp_path):
    rows = made_up(30, 2)
    frame = long_frame(rows).rename({"id": "walk", "label": "side"})
    path = written(tmp_path / "walks.csv", frame.write_csv())
    data = LabelledData(path=path, id="walk", label="side", features="b")
    assert as_set(all_rows(data)) == as_set([(values[:, 1:], label) for values, label in rows])
    default = LabelledData(path=path, id="walk", label="side")
    assert default.spec.feature_names == ("a", "b")  # every other column of numbers
    assert as_set(all_rows(default)) == as_set(rows)


def test_a_column_that_counts_the_steps_is_no_feature_unless_asked_for(tmp_path):
    frame = long_frame(made_up(30, 2))
    train, test = (str(tmp_path / f"{name}.csv") for name in ("train", "test"))
    frame.write_csv(train)
    frame.with_columns(step=pl.lit(0)).write_csv(test)
    data = LabelledData(path=train, test_path=test)
    assert data.spec.feature_names == ("a", "b")
    said = "step: counts the steps of every sequence, not used as a feature (data.features=[step,a,b] reads it too)"
    assert said in data.prepared.facts
    asked = LabelledData(path=train, features=["step", "a", "b"])
    assert asked.spec.feature_names == ("step", "a", "b")
    of_that_model = LabelledData(path=train)
    of_that_model.fitted = asked.spec
    assert of_that_model.spec.feature_names == ("step", "a", "b")
    frame.select("id", "label", "step").write_csv(test)
    assert LabelledData(path=test).spec.feature_names == ("step",)  # there is nothing else
    jumps = frame.with_columns(step=pl.when(pl.col("id") == frame["id"][0]).then(2 * pl.col("step")).otherwise("step"))
    jumps.write_csv(train)
    assert LabelledData(path=train).spec.feature_names == ("step", "a", "b")


def test_dates_order_a_table(tmp_path):
    lines = ["id,time,label,x"]
    for number in range(8):
        for day in (3, 1, 2):
            lines.append(f"{number},2026-01-{day:02},{'ab'[number % 2]},{day}")
    data = LabelledData(path=written(tmp_path / "t.csv", "\n".join(lines)))
    assert all(values[:, 0] == pytest.approx([1, 2, 3]) for values, _ in all_rows(data))


# ---------------------------------------------------------------------- splits and scale


def test_splits_are_disjoint_stratified_seeded_and_of_the_shares_asked_for(tmp_path):
    rows = [
        (np.full((2, 1), float(number)), "abc"[0 if number < 100 else 1 if number < 160 else 2])
        for number in range(200)
    ]
    text = "@univariate true\n@classLabel true a b c\n@data\n" + "".join(
        f"{values[0, 0]},{values[0, 0]}:{label}\n" for values, label in rows
    )
    path = written(tmp_path / "x.ts", text)
    data = LabelledData(path=path, split=(0.5, 0.2, 0.3))
    counts = {split: Counter(label for _, label in rows_of(data, split)) for split in SPLITS}
    assert counts == {
        "train": {"a": 50, "b": 30, "c": 20},
        "val": {"a": 20, "b": 12, "c": 8},
        "test": {"a": 30, "b": 18, "c": 12},
    }
    assert as_set(all_rows(data)) == as_set(rows)
    same, other = LabelledData(path=path, split=(0.5, 0.2, 0.3)), LabelledData(path=path, split=(0.5, 0.2, 0.3), seed=1)
    assert same.fingerprint == data.fingerprint != other.fingerprint


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.8, 0.2), (0.6, 0.2, 0.1), (0.98, 0.01, 0.01)])
def test_every_share_gets_one_and_otherwise_what_is_nearest(shares):
    for count in range(len(shares), 80):
        given = shared_out(count, shares)
        assert min(given) >= 1
        assert sum(given) <= count
        if sum(shares) > 1 - 1e-9:
            assert sum(given) == count
        for got, share in zip(given, shares, strict=True):
            assert got == 1 or got - share * count < 1 + 1e-9
        if all(share * count >= 1 for share in shares):
            assert all(abs(got - share * count) < 1 for got, share in zip(given, shares, strict=True))


def test_a_test_file_is_the_test_split_and_validation_comes_from_training(tmp_path):
    training, testing = made_up(40, 2), made_up(14, 2, seed=1)
    paths = [
        written(tmp_path / f"w_{name}.ts", ts_text(rows)) for name, rows in (("TRAIN", training), ("TEST", testing))
    ]
    data = LabelledData(path=paths[0], test_path=paths[1], split=(0.6, 0.2, 0.2))
    assert as_set(rows_of(data, "test")) == as_set(testing)
    assert as_set(rows_of(data, "train") + rows_of(data, "val")) == as_set(training)
    assert [len(rows_of(data, split)) for split in SPLITS] == [30, 10, 14]
    hint = [fact for fact in LabelledData(path=paths[0]).prepared.facts if "data.test_path" in fact]
    assert len(hint) == 1
    assert "w_TEST.ts" in hint[0]


def test_the_scale_is_that_of_the_training_split_alone(tmp_path):
    rows = made_up(60, 2)
    rows = [(values * [1, 1e-3] + [1e6, 0], label) for values, label in rows]
    text = "".join(":".join([*(",".join(map(repr, c.tolist())) for c in v.T), label]) + "\n" for v, label in rows)
    data = LabelledData(path=written(tmp_path / "w.ts", HEADER + text))
    steps = np.concatenate([values for values, _ in rows_of(data, "train")])
    np.testing.assert_allclose(data.spec.input_mean, steps.mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.spec.input_std, steps.std(0), rtol=1e-5)
    every = np.concatenate([values for values, _ in rows])
    assert abs(data.spec.input_std[0] - every[:, 0].std()) > 1e-3
    samples = data.prepared.splits["train"]
    valid = torch.arange(samples.inputs.shape[1]) < samples.lengths[:, None]
    np.testing.assert_allclose(samples.inputs[valid].double().mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(samples.inputs[valid].double().std(0, correction=0), 1, rtol=1e-6)
    assert not samples.inputs[~valid].any()


def test_a_feature_that_never_changes_is_zero(tmp_path):
    text = "@univariate true\n@classLabel true a b\n@data\n" + "0.1,0.1,0.1:a\n0.1,0.1:b\n" * 5
    data = LabelledData(path=written(tmp_path / "x.ts", text))
    assert all(data.prepared.splits[split].inputs.abs().max() < 1e-12 for split in SPLITS)


def test_a_trained_model_predicts_raw_values_as_it_scored_scaled_ones(tmp_path):
    data = LabelledData(path=written(tmp_path / "w.ts", ts_text(made_up(40, 2))))
    model = Classifier(data.spec, partial(GRU, hidden_size=4)).eval()
    samples = data.prepared.splits["test"]
    with torch.no_grad():
        scored = model(samples.inputs, samples.lengths).softmax(1)
    for (raw, _), expected in zip(rows_of(data, "test"), scored, strict=True):
        np.testing.assert_allclose(model.predict(raw)["probabilities"], expected, atol=1e-5)


# ---------------------------------------------------------------------- missing values


def naive_fill(column):
    """Repeat the last value; at the beginning, the first."""
    first = next(value for value in column if not math.isnan(value))
    filled = []
    for value in column:
        filled.append((filled[-1] if filled else first) if math.isnan(value) else value)
    return filled


def test_filling_repeats_the_last_value_of_the_sequence_and_at_its_beginning_the_first(tmp_path):
    random = np.random.default_rng(0)
    rows = made_up(60, 2, shortest=3)
    expected, gappy = [], []
    for values, label in rows:
        holes = random.random(values.shape) < 0.4
        holes[random.integers(len(values))] = False
        with_holes = np.where(holes, np.nan, values)
        gappy.append((with_holes, label))
        expected.append((np.stack([naive_fill(column) for column in with_holes.T], axis=1), label))
    text = ts_text(gappy).replace("nan", "?")
    path = written(tmp_path / "w.ts", text)
    assert as_set(all_rows(LabelledData(path=path, missing="fill"))) == as_set(expected)
    with pytest.raises(RequestError, match=r"dimension [12] has no value \(\d+ values of the file"):
        _ = LabelledData(path=path).prepared


# ---------------------------------------------------------------------- references


def test_the_nearest_neighbour_is_that_of_a_loop_over_all_pairs(tmp_path):
    rows = made_up(150, 2, longest=5)
    data = LabelledData(path=written(tmp_path / "w.ts", ts_text(rows)))
    splits = data.prepared.splits
    training, test = splits["train"].inputs.double(), splits["test"].inputs.double()
    steps = max(training.shape[1], test.shape[1])
    wide = [torch.nn.functional.pad(part, (0, 0, 0, steps - part.shape[1])) for part in (training, test)]
    found = [int(torch.stack([((query - one) ** 2).sum() for one in wide[0]]).argmin()) for query in wide[1]]
    assert nearest(training, test).tolist() == found
    right = (splits["train"].targets[found] == splits["test"].targets).double().mean().item()
    assert data.reference_table()["accuracy"]["nearest_neighbour"] == right
    assert "nearest_neighbour" not in data.reference_table()["loss"]


def cylinder_bell_funnel(random, count):
    """Saito's three shapes (1994), 128 steps: (6 + e) on [a, b], flat, rising or falling, plus unit noise."""
    rows, time = [], np.arange(1, 129)
    for number in range(count):
        begin = random.integers(16, 33)
        end = begin + random.integers(32, 97)
        shape = [1.0, (time - begin) / (end - begin), (end - time) / (end - begin)][number % 3]
        height = (6 + random.normal()) * ((time >= begin) & (time <= end)) * shape
        row = height + random.normal(size=128)
        rows.append(f"{number % 3 + 1}\t" + "\t".join(f"{v:.5f}" for v in (row - row.mean()) / row.std()))
    return "\n".join(rows) + "\n"


def test_the_nearest_neighbour_errs_on_cylinder_bell_funnel_as_the_archive_says(tmp_path):
    # The UCR archive's one draw of 30 training sequences gives 1-NN an accuracy of 0.852; other draws give others.
    random, found = np.random.default_rng(0), []
    test = written(tmp_path / "C_TEST.tsv", cylinder_bell_funnel(random, 600))
    for draw in range(12):
        train = written(tmp_path / f"C{draw}_TRAIN.tsv", cylinder_bell_funnel(random, 36))
        data = LabelledData(path=train, test_path=test, split=(5 / 6, 1 / 6, 0))
        assert len(data.prepared.splits["train"]) == 30
        found.append(data.reference_table()["accuracy"]["nearest_neighbour"])
    assert np.std(found) < 0.07
    assert abs(np.mean(found) - 0.852) < 2.5 * np.std(found)


def test_minirocket_without_its_package_is_one_line_that_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    data = LabelledData(path=written(tmp_path / "w.ts", ts_text(made_up(60, 2))), classical=True)
    with pytest.raises(RequestError, match=r"data\.classical=true: .* pip install cellstate\[classical\]"):
        data.reference_table()


def test_the_majority_is_that_of_training(tmp_path):
    rows = [row for number, row in enumerate(made_up(60, 2)) if row[1] == "left" or number % 4 == 1]
    data = LabelledData(path=written(tmp_path / "w.ts", ts_text(rows)))
    share = np.mean([label == "left" for _, label in rows_of(data, "test")])
    assert data.reference_table()["accuracy"]["majority"] == pytest.approx(share)


# ---------------------------------------------------------------------- from the command line to predictions


def test_files_train_and_evaluate_from_another_folder_and_predict_raw_values(tmp_path, monkeypatch):
    # The classes differ in the sign of a slope; 40 training sequences are enough to see it.
    random = np.random.default_rng(0)

    def slopes(count):
        rows = []
        for number in range(count):
            sign = 1 if number % 2 else -1
            steps = np.arange(random.integers(8, 13))
            rows.append(f"{'up' if sign > 0 else 'down'}\t" + "\t".join(f"{1e5 + 100 * sign * s:.1f}" for s in steps))
        return "\n".join(rows) + "\n"

    written(tmp_path / "s_TRAIN.tsv", slopes(50))
    written(tmp_path / "s_TEST.tsv", slopes(20))
    monkeypatch.chdir(tmp_path)
    files = ["data.path=s_TRAIN.tsv", "data.test_path=s_TEST.tsv"]
    small = ["trainer.max_steps=40", "trainer.val_check_interval=20", "backbone.hidden_size=8", "report=false"]
    run = cellstate.train(["experiment=labelled", *files, *small, "scheduler=none", "optimizer.lr=0.02"])
    assert run.metrics["test"]["accuracy"] == 1
    assert set(run.metrics["reference"]["accuracy"]) == {"majority", "nearest_neighbour", "nearest_neighbour_dtw"}
    (tmp_path / "elsewhere").mkdir()
    folder = run.folder.resolve()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert not cellstate.evaluate(folder).differing
    model = cellstate.load(folder)
    assert model.predict([1e5 + 100 * step for step in range(9)])["labels"] == "up"
    assert model.predict([[1e5, 1e5 - 90, 1e5 - 220, 1e5 - 300]] * 2)["labels"].tolist() == ["down", "down"]


def test_a_run_without_validation_trains_on_all_of_the_first_file_and_keeps_the_last_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training, testing = made_up(40, 2), made_up(14, 2, seed=1)
    for name, rows in (("w_TRAIN.ts", training), ("w_TEST.ts", testing)):
        written(tmp_path / name, ts_text(rows))
    words = ["experiment=labelled", "data.path=w_TRAIN.ts", "data.test_path=w_TEST.ts", "trainer.max_steps=12"]
    small = ["backbone.hidden_size=4", "model.channels=[6,6,6]"]
    run = cellstate.train([*words, *small])
    assert len(run.data.prepared.splits["train"]) == 40
    assert run.metrics["val"] == {}
    assert set(run.metrics["test"]) >= {"loss", "accuracy"}
    assert run.metrics["best"]["step"] == 12
    assert run.metrics["best"]["value"] == run.metrics["train"]["loss"] > 0
    assert (run.folder / "report.html").exists()
    assert not cellstate.evaluate(run.folder).differing
    with pytest.raises(RequestError, match=r"checkpoint\.keep=best: there is no validation split"):
        cellstate.train([*words, *small, "checkpoint.keep=best"])
    with pytest.raises(RequestError, match=r"data\.split: there is no validation split, and no test split"):
        cellstate.train([*words, *small, "test=false"])
    with pytest.raises(RequestError, match=r"monitor=val/loss: unknown metric"):
        cellstate.train([*words, *small, "scheduler=plateau"])


def test_the_last_weights_are_kept_whatever_the_validation_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "w.ts", ts_text(made_up(60, 2)))
    words = ["experiment=labelled", "data.path=w.ts", "trainer.max_steps=12", "trainer.val_check_interval=4"]
    small = ["backbone.hidden_size=4", "model.channels=[6,6,6]", "optimizer.lr=1", "report=false"]
    run = cellstate.train([*words, *small])
    losses = [row["val/loss"] for row in run.history]
    assert run.metrics["best"]["step"] == 12
    assert run.metrics["best"]["value"] == losses[-1]


def test_without_a_file_there_is_something_to_train_on():
    data = LabelledData()
    assert data.spec.input_size == 5
    assert sum(len(data.prepared.splits[split]) for split in SPLITS) == 2000
    assert data.prepared.facts[0].startswith("data=trigger_action: 2,000 sequences of 30 steps")
