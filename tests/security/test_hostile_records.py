"""A record that names what it must not, asks for what no machine has, or would have files read and written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import TINY, series_rows, write_csv
from tests.security.conftest import SECRET, Refusal
from tests.security.forging import changed

import cellstate
from cellstate.errors import RequestError

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def setting(part: str, **values: Any) -> Change:
    """Return a change to one part of the record's config."""
    return lambda record, _: record["config"][part].update(values)


def specifying(**values: Any) -> Change:
    return lambda record, _: record["spec"].update(values)


TOUCH = {"_target_": "os.system", "command": "touch exploded"}
NAMES = [
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "logging.os.system",
    "torch.os.system",
    "cellstate.data.files.reading.os.system",
    "cellstate.data.files.corpus.os.system",
    "cellstate.checkpoint.file.os.system",
    "cellstate.data.synthetic.pattern.np.load",
    "cellstate.data.PatternData.__init__.__globals__",
    "cellstate.data.PatternData.__class__",
    "cellstate.data.torch.load",
    "cellstate.data.files",
    "cellstate.data.SequenceData",
    "cellstate.data.DataSpec",
    "cellstate.data.batch.Batch",
    "cellstate.model.Classifier",
    "cellstate.backbone",
    "cellstate.cli.main",
    "cellstate.api.train",
    "hydra.utils.instantiate",
    "hydra.utils.get_method",
    "importlib.import_module",
    "pickle.loads",
    "torch.load",
    "torch.hub.load",
    "evil_package.Data",
    "cellstate.data.",
    ".cellstate.data.PatternData",
    "cellstate..data.PatternData",
    "cellstate.data.PatternData\n",
    "${oc.env:CELLSTATE_SECRET}",
    "cellstate.data.${oc.env:CELLSTATE_SECRET}",
    "",
    None,
    7,
    ["os.system"],
    {"_target_": "os.system"},
    {"_target_": "hydra.utils.get_method", "path": "os.system"},
]


USES = {"evaluate": cellstate.evaluate, "inspect": cellstate.inspect, "load": cellstate.load}
ELSEWHERE = ["optimizer", "scheduler", "checkpoint", "trainer", "callbacks", "logger"]  # built by none of the uses


@pytest.mark.parametrize("target", NAMES, ids=repr)
@pytest.mark.parametrize("part", ["data", "backbone", "model"])
def test_no_name_leads_to_what_is_not_listed(part: str, target: Any, good: Path, refusal: Refusal) -> None:
    if part == "model" and target == "cellstate.model.Classifier":
        target = "cellstate.model.Forecaster.__class__"
    file = changed(good, Path("hostile.ckpt").resolve(), setting(part, _target_=target, command="touch exploded"))
    for use in USES.values():
        line = refusal(lambda use=use: use(file))
        assert line.startswith(f"{file}: the config has {part}=")
        assert "trust=[PACKAGE]" in line


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("target", ["os.system", "logging.os.system", "hydra.utils.instantiate", "mylab.Own", None])
@pytest.mark.parametrize("part", ELSEWHERE)
def test_parts_that_are_not_built_are_held_to_the_same(
    part: str, target: Any, use: str, good: Path, refusal: Refusal
) -> None:
    node = {"_target_": target, "command": "touch exploded"}
    nodes = {"one": node} if part in ("callbacks", "logger") else node
    file = changed(good, Path("hostile.ckpt").resolve(), lambda record, _: record["config"].update({part: nodes}))
    line = refusal(lambda: USES[use](file))
    assert line.startswith(f"{file}: the config has {part}=")
    if target == "mylab.Own":  # need not be installed where nothing of it is built
        USES[use](file, trust="mylab")


@pytest.mark.parametrize("values", [{"more": TOUCH}, {"more": [1, [TOUCH]]}, {"_args_": ["touch exploded"]}], ids=str)
@pytest.mark.parametrize("part", ["optimizer", "checkpoint", "trainer"])
def test_nor_do_they_hold_more_than_plain_values(
    part: str, values: dict[str, Any], good: Path, refusal: Refusal
) -> None:
    file = changed(good, Path("hostile.ckpt").resolve(), setting(part, **values))
    line = refusal(lambda: cellstate.evaluate(file))
    assert line == f"{file}: the config of {part} contains more than plain values"


def test_what_stands_deep_in_other_parts_is_trusted_by_its_package(good: Path, refusal: Refusal) -> None:
    strategy = {"_target_": "lightning.pytorch.strategies.DDPStrategy", "static_graph": True}
    file = changed(good, Path("own.ckpt").resolve(), setting("trainer", strategy=strategy))
    assert "trainer contains more than plain values" in refusal(lambda: cellstate.evaluate(file))
    assert cellstate.evaluate(file, trust="lightning").differing == []


def test_nothing_is_imported_because_a_file_names_it(
    good: Path, refusal: Refusal, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (working_folder / "importable.py").write_text("open('exploded', 'w')\nclass Data: pass\n")
    monkeypatch.syspath_prepend(working_folder)
    file = changed(good, Path("hostile.ckpt").resolve(), setting("data", _target_="importable.Data"))
    assert "data='importable.Data'" in refusal(lambda: cellstate.evaluate(file))


@pytest.mark.parametrize("part", ["data", "backbone", "model"])
@pytest.mark.parametrize(
    "values",
    [
        {"more": TOUCH},
        {"more": [1, [TOUCH]]},
        {"more": {"deep": {"er": TOUCH}}},
        {"_partial_": True},
        {"_args_": ["touch exploded"]},
        {"_recursive_": True},
        {"_convert_": "all"},
        {"seed": TOUCH},
    ],
    ids=lambda values: next(iter(values)),
)
def test_no_key_of_hydra_is_taken_from_a_record(
    part: str, values: dict[str, Any], good: Path, refusal: Refusal
) -> None:
    file = changed(good, Path("hostile.ckpt").resolve(), setting(part, **values))
    line = refusal(lambda: cellstate.evaluate(file))
    assert line == f"{file}: the config of {part} contains more than plain values"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (setting("backbone", recurrent_init="${oc.env:CELLSTATE_SECRET}"), "should be 'orthogonal' or 'uniform'"),
        (setting("model", pooling="${oc.decode:${oc.env:CELLSTATE_SECRET}}"), "model.pooling=${oc.decode:"),
        (
            setting("data", length="${oc.env:CELLSTATE_SECRET}"),
            "data.length=${oc.env:CELLSTATE_SECRET}: should be a valid",
        ),
        (setting("data", pattern="${run_id:}"), "should be a list"),
        (specifying(classes=["${oc.env:CELLSTATE_SECRET}"]), "the checkpoint's model cannot be built"),
    ],
)
def test_interpolations_stay_the_texts_that_they_are(
    change: Change, complaint: str, good: Path, refusal: Refusal
) -> None:
    file = changed(good, Path("hostile.ckpt").resolve(), change)
    assert complaint in refusal(lambda: cellstate.evaluate(file))


def test_an_interpolation_in_a_name_is_printed_as_it_stands(good: Path, tmp_path: Path) -> None:
    text = "${oc.env:CELLSTATE_SECRET}"
    file = changed(good, tmp_path / "named.ckpt", lambda record, _: record["config"].update(experiment=text))
    assert cellstate.evaluate(file).experiment == text
    file = changed(good, tmp_path / "named.ckpt", specifying(classes=[text, "b"]))
    model: Any = cellstate.load(file)
    assert set(model.predict([[0.0] * 20])["labels"]) <= {text, "b"}


# ---------------------------------------------------------------------- absurd sizes


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (setting("backbone", hidden_size=10**12), "its sizes exceed any memory"),
        (setting("backbone", hidden_size=10**6), "32×1 stored, 4000000×1 described"),
        (setting("backbone", num_layers=10**9), "backbone.num_layers=1000000000: should be less than or equal to 1000"),
        (setting("backbone", chrono_steps=2, forget_bias=1e308), "cannot be built"),
        (setting("data", train_size=10**15), "drawing 1,000,000,000,000,064 sequences of 20 steps needs"),
        (setting("data", test_size=10**10), "GiB of memory, but this machine has"),
        (setting("data", train_size=10**30), "config.data.train_size is a number of 100 bits"),
        (setting("data", length=10**12), "data.length=1000000000000: should be less than or equal to 100000"),
        (setting("data", length=10**5, pattern=[0, 1] * 1000), "counting the sequences without it takes too long"),
        (setting("data", batch_size=10**15), "data.batch_size=1000000000000000 is larger than the training split"),
        (setting("data", train_size=-1), "data.train_size=-1: should be greater than 0"),
        (setting("data", train_size=1e15), "should be a valid integer"),
        (setting("data", balance=float("nan")), "data.balance=nan: should be"),
        (specifying(input_size=10**12), "stored, 32×1000000000000 described"),
        (specifying(window=10**12), "spec.window=1000000000000: should be less than or equal to 10000000"),
        (specifying(horizon=10**12), "spec.horizon=1000000000000: should be less than or equal to 10000000"),
        (specifying(classes=["x"] * 10**6), "weight head.weight: 2×8 stored, 1000000×8 described"),
        (specifying(classes=list(range(5))), "should be a valid string"),
        (specifying(classes="ab"), "spec.classes=ab: should be"),
        (specifying(answer=["closing", "x", None]), "spec.answer="),
        (specifying(targets=["a", "b"], mean=[0.0], std=[1.0]), "mean, std or naive_error do not match 2 targets"),
        (specifying(input_mean=[0.0, 1.0], input_std=[1.0, 1.0]), "do not match 1 features"),
        (specifying(target_feature=10**9), "target_feature=1000000000 is out of range for 1 features"),
        (specifying(sizes=3), "spec.sizes: unknown key"),
        (lambda record, _: record["config"].update(seed=10**10), "invalid record (config.seed)"),
        (lambda record, _: record["config"].update(seed="0"), "invalid record (config.seed)"),
        (lambda record, _: record["config"].update(experiment=["x"]), "invalid record (config.experiment)"),
        (lambda record, _: record.update(metrics={"val": {"loss": "low"}}), "invalid record (metrics.val.loss)"),
        (lambda record, _: record.update(reference=[1]), "invalid record (reference)"),
        (
            lambda record, _: record["config"]["trainer"].update(precision="9" * 10**6),
            "config.trainer.precision is a string of more than 100,000 characters",
        ),
        (
            lambda record, _: record["config"]["trainer"].update(precision="8-true"),
            "trainer.precision=8-true: unknown precision",
        ),
        (
            lambda _, content: content["state_dict"].update({"head.bias": torch.zeros(10**6)}),
            "1000000 stored, 2 described",
        ),
        (
            lambda _, content: content["state_dict"].update({"more": torch.zeros(1)}),
            "weight more: 1 stored, none described",
        ),
    ],
)
def test_absurd_sizes_are_refused_at_once(change: Change, complaint: str, good: Path, refusal: Refusal) -> None:
    file = changed(good, Path("hostile.ckpt").resolve(), change)
    began = time.process_time()
    line = refusal(lambda: cellstate.evaluate(file))
    assert complaint in line
    assert line.startswith(f"{file}: ")
    assert time.process_time() - began < 30, "it began to work on it"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("AddingData", {"length": 10**12}),
        ("AddingData", {"length": 10**5, "train_size": 10**6}),
        ("CopyMemoryData", {"delay": 10**12}),
        ("EmbeddedReberData", {"repeats": 10**9}),
        ("EmbeddedReberData", {"train_size": 10**12}),
        ("FirstParityData", {"length": 10**12}),
        ("MarkovData", {"states": 10**9}),
        ("MarkovData", {"states": 4000, "order": 2}),
        ("MarkovData", {"length": 10**12}),
        ("SineData", {"window": 10**12}),
        ("SineData", {"horizon": 10**12}),
        ("TemporalOrderData", {"length": 10**12}),
        ("TriggerActionData", {"length": 30, "max_gap": 10**12}),
        ("SeasonalData", {"length": 10**12}),
        ("SeasonalData", {"window": 10**12}),
        ("SeasonalData", {"horizon": 10**12}),
        ("SeasonalData", {"batch_size": 10**12}),
        ("SeasonalData", {"amplitudes": [1.0] * 10**4}),
        ("SeasonalData", {"amplitudes": [1e308] * 2, "periods": [5.0] * 2}),
        ("SeasonalData", {"periods": [float("nan")] * 2}),
        ("SeasonalData", {"split": [1e300, 1e300, 1e300]}),
        ("SeasonalData", {"split": [float("nan"), 0.1, 0.1]}),
        ("SeriesData", {"window": 10**12}),
        ("SeriesData", {"season": 10**18, "horizon": 10**12}),
        ("StatesData", {"folds": 10**12}),
        ("StatesData", {"fold": 10**12}),
        ("LabelledData", {"split": [float("inf")] * 3}),
        ("TextData", {"batch_size": 10**12}),
        ("TextData", {"eval_streams": 10**12}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_data_that_no_machine_holds_is_refused(name: str, values: dict[str, Any], good: Path, refusal: Refusal) -> None:
    def other_data(record: dict[str, Any], _: Any) -> None:
        record["config"]["data"] = {"_target_": f"cellstate.data.{name}", **values}

    file = changed(good, Path("hostile.ckpt").resolve(), other_data)
    began = time.process_time()
    refusal(lambda: cellstate.evaluate(file))
    assert time.process_time() - began < 30, "it began to work on it"


# ---------------------------------------------------------------------- files that a record names


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="Linux has these files")
@pytest.mark.parametrize("name", ["TextData", "SeriesData", "StatesData", "LabelledData"])
@pytest.mark.parametrize(
    "path",
    ["/dev/zero", "/dev/stdin", "pipe", "folder", "/proc/self/environ", "/proc/self/mem", "secrets", "secrets.csv"],
)
def test_no_file_that_a_record_names_is_told_of(name: str, path: str, good: Path, working_folder: Path) -> None:
    os.mkfifo(working_folder / "pipe")
    (working_folder / "folder").mkdir()
    for file in ("secrets", "secrets.csv"):  # such as keys, which are not shown to whoever sent the checkpoint
        (working_folder / file).write_text(f"time,password\n1,{SECRET}\n2,{SECRET}\n" + f"3,{SECRET},\n")
    named = path if path.startswith("/") else str(working_folder / path)

    def other_data(record: dict[str, Any], _: Any) -> None:
        record["config"]["data"] = {"_target_": f"cellstate.data.{name}", "path": named}

    hostile = changed(good, working_folder / "hostile.ckpt", other_data)
    with pytest.raises(RequestError) as caught:
        cellstate.evaluate(hostile)
    (line,) = caught.value.problems
    assert named in line
    assert "data.path=FILE" in line
    assert SECRET not in line


def test_where_something_is_written_is_not_taken_from_a_record(
    good: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(working_folder / "cache"))
    monkeypatch.setattr("cellstate.data.files.text.IN_MEMORY_BYTES", 10)
    text = working_folder / "book.txt"
    text.write_text("a tale of two caches " * 200)

    def other_data(record: dict[str, Any], _: Any) -> None:
        elsewhere = str(working_folder / "elsewhere" / "cron.d")
        record["config"]["data"] = {"_target_": "cellstate.data.TextData", "path": str(text), "cache": elsewhere}

    with pytest.raises(RequestError, match="not the data that this model was trained on"):
        cellstate.evaluate(changed(good, working_folder / "hostile.ckpt", other_data))
    assert not (working_folder / "elsewhere").exists()
    assert len(list((working_folder / "cache").rglob("*.tokens"))) == 1


def test_what_is_wrong_with_a_file_is_told_to_whoever_names_it(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "load.csv", series_rows(400))
    words = [f"data.path={file}", "data.window=48", *TINY[:1], TINY[4], TINY[5]]
    run = cellstate.train(["experiment=series", *words, f"hydra.run.dir={tmp_path / 'run'}"])
    write_csv(file, [*series_rows(400)[:-1], f"2026-02-01 00:00:00,{SECRET}"])
    with pytest.raises(RequestError, match=r"it cannot be read \(data\.path=FILE shows the reason\)") as caught:
        cellstate.evaluate(run.folder)
    assert SECRET not in str(caught.value)
    with pytest.raises(RequestError, match=SECRET):
        cellstate.evaluate(run.folder, data={"path": str(file)})
    file.unlink()
    with pytest.raises(
        RequestError,
        match=r"load\.csv: the data file of this model no longer exists.*give the original file with data\.path",
    ):
        cellstate.evaluate(run.folder)
