"""What is wrong with a file of labelled sequences is told in one line, which names the line of the file."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cellstate.data import LabelledData
from cellstate.data.files.labelled import stratified
from cellstate.data.files.sequences import Sequences
from cellstate.errors import RequestError

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
FIRST = HEADER.count("\n") + 1  # the line of the first sequence


def written(path, text):
    path.write_text(text)
    return str(path)


def ts(line, header=HEADER):
    return header + "1,2:3,4:left\n1,2,3:3,4,5:right\n" * 4 + line + "\n"


LAST = FIRST + 8  # the line of what ``ts`` adds

BAD_TS = {
    "unlabelled": (ts("1,2:3,4"), f"line {LAST}: no label after the 2 dimensions"),
    "an empty label": (ts("1,2:3,4:"), f"line {LAST}: the sequence has no label"),
    "a question mark for a label": (ts("1,2:3,4:?"), f"line {LAST}: the sequence has no label"),
    "ragged": (ts("1,2:3,4,5:left"), f"line {LAST}: dimension 2 has 3 steps, but dimension 1 has 2"),
    "a dimension too few": (ts("1,2:left"), f"line {LAST}: 1 dimensions, but the others have 2"),
    "a dimension too many": (ts("1:2:3:left"), f"line {LAST}: 3 dimensions, but the others have 2"),
    "an unknown class": (ts("1,2:3,4:lefd"), f"line {LAST}: the class 'lefd' is not in @classLabel; did you mean"),
    "no number": (ts("1,x:3,4:left"), f"line {LAST}, dimension 1: 'x' is not a number"),
    "infinite": (ts("1,2:3,inf:left"), f"line {LAST}, dimension 2: 'inf' is not finite"),
    "missing": (ts("1,2:3,?:left"), f"line {LAST}: dimension 2 has no value (1 values of"),
    "another length": (
        ts("1,2,3:3,4,5:left", HEADER.replace("@equalLength false", "@equalLength true\n@seriesLength 2")),
        f"line {FIRST + 2}: 3 steps, but @equalLength is true with 2 steps",
    ),
    "no classes": (HEADER.replace("@classLabel true left right\n", "") + "1:2:left\n", "no @classLabel line"),
    "classes denied": (HEADER.replace("true left right", "false") + "1:2\n", "line 8: the file declares no classes"),
    "timestamps": (HEADER.replace("@timeStamps false", "@timeStamps true"), "line 3: values with timestamps"),
    "regression": (HEADER.replace("@classLabel true left right", "@targetLabel true"), "line 8: the file contains num"),
    "dimensions by word": (HEADER.replace("@dimensions 2", "@dimensions two"), "line 6: @dimensions two: should be a"),
    "no data": (HEADER, "no sequence after @data"),
    "no @data": (HEADER.replace("@data\n", ""), "no line @data"),
    "values first": ("1,2:a\n", "line 1: values before the line @data"),
    "one class": (HEADER + "1:2:left\n" * 6, "every sequence has the class 'left'"),
    "one of a class": (ts("", HEADER.replace("right", "right up")) + "1:2:up\n", f"line {LAST + 1}: the class 'up'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_TS)
def test_a_bad_ts_file_is_refused_in_one_line_that_says_where(tmp_path, fault):
    text, message = BAD_TS[fault]
    with pytest.raises(RequestError) as refused:
        _ = LabelledData(path=written(tmp_path / "bad.ts", text)).prepared
    (problem,) = refused.value.problems
    assert "bad.ts" in problem
    assert message in problem
    assert "\n" not in problem


GOOD_TSV = "1\t0.5\t1\n2\t3\t4\n" * 3
BAD_TSV = {
    "no label": (GOOD_TSV + "\t1\t2\n", "line 7: the sequence has no label"),
    "commas": (GOOD_TSV + "1,2,3\n", "line 7: no tab found"),
    "no value": (GOOD_TSV + "1\tNaN\tNaN\n", "line 7: a label without values"),
    "missing inside": (GOOD_TSV + "1\t1\tNaN\t2\n", "line 7: dimension 1 has no value"),
    "a word": (GOOD_TSV + "1\tfast\n", "line 7: 'fast' is not a number"),
    "blank": ("\n\n", "the file contains no sequence"),
}


@pytest.mark.parametrize("fault", BAD_TSV)
def test_a_bad_tsv_file_is_refused_in_one_line_that_says_where(tmp_path, fault):
    text, message = BAD_TSV[fault]
    with pytest.raises(RequestError) as refused:
        _ = LabelledData(path=written(tmp_path / "bad.tsv", text)).prepared
    assert message in str(refused.value)
    assert len(refused.value.problems) == 1


GOOD_CSV = "id,time,label,x\n" + "".join(f"{n},{t},{'ab'[n % 2]},{n + t}\n" for n in range(6) for t in range(3))
BAD_CSV = {
    "unlabelled": (GOOD_CSV + "7,0,,1\n", "line 20: sequence '7' has no label"),
    "two labels": (GOOD_CSV + "7,0,a,1\n7,1,b,1\n", "line 21: sequence '7' has the label 'b' here but 'a' before"),
    "no id": (GOOD_CSV + ",0,a,1\n", "line 20: column 'id' (data.id) has no id"),
    "a time twice": (GOOD_CSV + "7,0,a,1\n7,0,a,2\n", "line 21: the time 0 occurs twice"),
    "no time": (GOOD_CSV + "7,,a,1\n", "line 20: column 'time' (data.time) has no time"),
    "time by word": (GOOD_CSV + "7,noon,a,1\n", "line 20: column 'time' (data.time) contains 'noon'"),
    "a word": (GOOD_CSV + "7,0,a,fast\n", "line 20: column 'x' contains 'fast', which is not a number"),
    "infinite": (GOOD_CSV + "7,0,a,inf\n", "line 20: column 'x' contains 'inf', which is not a finite number"),
    "missing": (GOOD_CSV + "7,0,a,\n", "line 20: column 'x' has no value"),
    "no id column": (GOOD_CSV.replace("id", "walk"), "which column identifies the sequence?"),
    "no features": ("id,label\n1,a\n2,b\n", "no other numeric column"),
    "only a header": ("id,label,x\n", "bad.csv"),
}


@pytest.mark.parametrize("fault", BAD_CSV)
def test_a_bad_table_is_refused_in_one_line_that_says_where(tmp_path, fault):
    text, message = BAD_CSV[fault]
    with pytest.raises(RequestError) as refused:
        _ = LabelledData(path=written(tmp_path / "bad.csv", text)).prepared
    assert message in str(refused.value)
    assert len(refused.value.problems) == 1


def test_a_parquet_file_without_the_column_says_which_there_are(tmp_path):
    path = tmp_path / "w.parquet"
    frame = pl.DataFrame(
        [{"id": f"s{n}", "step": t, "label": "ab"[n % 2], "x": n + t} for n in range(9) for t in (0, 1)]
    )
    frame.write_parquet(path)
    for choice in ({"label": "side"}, {"features": ["x", "side"]}, {"id": "side"}, {"time": "side"}):
        with pytest.raises(RequestError, match=r"no column 'side' for data\.\w+.*columns: id, step, label, x"):
            _ = LabelledData(path=str(path), **choice).prepared
    frame.with_columns(label=pl.when(pl.col("id") != "s3").then("label")).write_parquet(path)
    with pytest.raises(RequestError, match=r"w\.parquet, row 7: sequence 's3' has no label"):
        _ = LabelledData(path=str(path)).prepared


@pytest.mark.parametrize("name", ["w.ts", "w.tsv", "w.csv"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_what_is_not_utf8_is_told_by_line(tmp_path, name, encoding):
    path = tmp_path / name
    good = {"w.ts": ts(""), "w.tsv": GOOD_TSV, "w.csv": GOOD_CSV}[name]
    lines = good.count("\n")
    path.write_bytes(good.encode() + "# naïve\n".encode("latin-1") if encoding == "latin-1" else good.encode("utf-16"))
    with pytest.raises(RequestError) as refused:
        _ = LabelledData(path=str(path)).prepared
    assert f"line {lines + 1 if encoding == 'latin-1' else 1}: byte 0x" in str(refused.value)
    assert "not UTF-8" in str(refused.value)


@pytest.mark.parametrize("name", ["w.ts", "w.tsv", "w.csv", "w.parquet"])
def test_empty_and_absent_files_are_refused(tmp_path, name):
    path = str(tmp_path / name)
    with pytest.raises(RequestError, match=r"data\.path=.*no such file"):
        _ = LabelledData(path=path).prepared
    (tmp_path / name).touch()
    with pytest.raises(RequestError, match="the file is empty"):
        _ = LabelledData(path=path).prepared


def test_a_test_file_that_asks_for_what_was_not_taught_is_refused(tmp_path):
    train = written(tmp_path / "train.ts", ts("", HEADER.replace("right", "right up")))
    for text, message in (
        (
            ts("1:2:up", HEADER.replace("right", "right up")),
            rf"test\.ts, line {LAST}: no training sequence has the class",
        ),
        (
            ts("", HEADER).replace("@dimensions 2", "@univariate true").replace(":3,4", ""),
            "features: 1, but",
        ),
    ):
        test = written(tmp_path / "test.ts", text.replace(":3,4,5", "") if "univariate true" in text else text)
        with pytest.raises(RequestError, match=message):
            _ = LabelledData(path=train, test_path=test).prepared


def test_requests_that_make_no_sense_are_refused(tmp_path):
    path = written(tmp_path / "w.ts", ts(""))
    other = written(tmp_path / "w.arff", "x")
    for choice, message in (
        ({"path": path, "label": "x"}, r"data\.label: a \.ts file has no columns"),
        ({"path": other}, r"unknown file type; give \.ts"),
        ({"test_path": path}, r"data\.path: a value is required with data\.test_path"),
        ({"path": path, "split": (0.0, 0.7, 0.3)}, r"data\.split=\[0,0\.7,0\.3\]: give the shares"),
        ({"path": path, "split": (0.7, 0.3, 0.3)}, r"data\.split=\[0\.7,0\.3,0\.3\]: give the shares"),
    ):
        with pytest.raises(RequestError, match=message):
            _ = LabelledData(**choice).prepared


def test_a_class_of_two_can_be_split_in_two_but_not_in_three():
    rows = [np.zeros((1, 1))] * 12
    sequences = Sequences.of_rows(rows, ["a"] * 10 + ["b"] * 2, range(1, 13), "w.ts")
    halves = stratified(sequences, ("a", "b"), {"train": 0.8, "val": 0.2}, seed=0)
    assert all(set(np.array(sequences.labels)[chosen]) == {"a", "b"} for chosen in halves.values())
    with pytest.raises(
        RequestError, match=r"w\.ts, line 11: the class 'b' has 2 sequences, but each of train, val, test"
    ):
        stratified(sequences, ("a", "b"), {"train": 0.7, "val": 0.15, "test": 0.15}, seed=0)
