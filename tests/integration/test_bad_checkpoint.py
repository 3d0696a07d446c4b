"""A checkpoint that is cut, changed, newer, none or of another task is told of in one line: never wrong numbers."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tests.conftest import TINY, Command, series_rows, write_csv
from tests.security.forging import Exploding, changed, saved, unsealed

import cellstate as package
from cellstate import checkpoint
from cellstate.errors import RequestError, RunError
from cellstate.scoring.predict import predict_file

Make = Callable[[Path, Path], object]  # writes a file, given a good one


def train(folder: Path, experiment: str, *words: str) -> package.Run:
    """Train for an epoch, in seconds."""
    small = ["trainer.max_epochs=1", "backbone.hidden_size=8", "report=false", f"hydra.run.dir={folder}"]
    return package.train([f"experiment={experiment}", *small, *words])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a classifier."""
    return train(tmp_path_factory.mktemp("run") / "run", "pattern", *TINY[1:4]).checkpoint


@pytest.fixture(params=["best.ckpt", "last.ckpt"])
def either(request: pytest.FixtureRequest, good: Path) -> Path:
    """A checkpoint of each kind: to share, and to resume from."""
    return good.with_name(request.param)


def refusal(attempt: Callable[[], object]) -> str:
    """Return the one line of a refusal."""
    with pytest.raises(RequestError) as caught:
        attempt()
    (line,) = caught.value.problems
    return " ".join(line.split())


# ---------------------------------------------------------------------- broken files


def test_a_checkpoint_cut_at_any_kilobyte_is_found(either: Path, tmp_path: Path) -> None:
    content, file = either.read_bytes(), tmp_path / "cut.ckpt"
    lengths = [*range(0, len(content), 1024), *range(1, 40), *range(len(content) - 130, len(content))]
    for length in lengths:
        file.write_bytes(content[:length])
        line = refusal(lambda: checkpoint.read(file))
        assert line.startswith(f"{file}: "), length
        assert re.search("damaged|is empty", line), f"{length}: {line}"
    file.write_bytes(content)
    assert checkpoint.read(file)


def test_every_flipped_bit_is_found(either: Path, tmp_path: Path) -> None:
    content, file, chance = either.read_bytes(), tmp_path / "flipped.ckpt", random.Random(0)
    ends = [*range(200), *range(len(content) - 200, len(content))]  # where the file tells what it is
    for place in [*ends, *(chance.randrange(len(content)) for _ in range(600))]:
        broken = bytearray(content)
        broken[place] ^= 1 << chance.randrange(8)
        file.write_bytes(broken)
        line = refusal(lambda: checkpoint.read(file))
        assert "damaged" in line, f"byte {place}: {line}"


def test_changes_of_many_bytes_are_found(either: Path, tmp_path: Path) -> None:
    content, file = either.read_bytes(), tmp_path / "broken.ckpt"
    half = len(content) // 2
    for broken in (
        content[:half] + bytes(4096) + content[half + 4096 :],  # a block that the disk lost
        content[:half] + content[half + 1 :],
        content[:half] + b"\n" + content[half:],
        content.replace(b"\n", b"\r\n"),  # a transfer as text
        content + b"\0",
        content + content,
        b"\0" + content,
        content[::-1],
        bytes(len(content)),
    ):
        file.write_bytes(broken)
        assert "damaged" in refusal(lambda: checkpoint.read(file))


def test_files_of_two_runs_do_not_mix(either: Path, tmp_path: Path) -> None:
    other = train(tmp_path / "other", "pattern", *TINY[1:4], "seed=1").checkpoint.with_name(either.name)
    one, two = either.read_bytes(), other.read_bytes()
    half = len(one) // 2
    (tmp_path / "mixed.ckpt").write_bytes(one[:half] + two[half:])
    assert "damaged" in refusal(lambda: checkpoint.read(tmp_path / "mixed.ckpt"))


def test_the_checksum_leaves_the_file_of_a_run_to_every_reader(good: Path) -> None:
    last = good.with_name("last.ckpt")
    with zipfile.ZipFile(last) as archive:
        assert archive.testzip() is None
        assert re.fullmatch(rb"cellstate sha256 [0-9a-f]{64}", archive.comment)
    plain = torch.load(last, weights_only=True)
    mapped = torch.load(last, weights_only=True, mmap=True)
    ours = checkpoint.read(last)
    for name, tensor in ours["state_dict"].items():
        assert torch.equal(tensor, plain["state_dict"][name])
        assert torch.equal(tensor, mapped["state_dict"][name])


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(either: Path) -> None:
    content = either.read_bytes()
    mark = b'"sha256":"' if either.name == "best.ckpt" else b"cellstate sha256 "
    place = content.index(mark) + len(mark)
    blank = content[:place] + b"0" * 64 + content[place + 64 :]
    assert hashlib.sha256(blank).hexdigest().encode() == content[place : place + 64]


def write_garbage(file: Path, good: Path) -> None:  # noqa: ARG001
    file.write_bytes(b"this is no checkpoint" * 100)


def write_nothing(file: Path, good: Path) -> None:  # noqa: ARG001
    file.write_bytes(b"")


def write_half(file: Path, good: Path) -> None:
    content = good.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def write_flipped(file: Path, good: Path) -> None:
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def write_half_of_last(file: Path, good: Path) -> None:
    write_half(file, good.with_name("last.ckpt"))


def write_flipped_last(file: Path, good: Path) -> None:
    write_flipped(file, good.with_name("last.ckpt"))


def write_without_checksum(file: Path, good: Path) -> None:
    file.write_bytes(unsealed(good.with_name("last.ckpt")))


def write_older_format(file: Path, good: Path) -> None:
    """As the version before wrote it: a file of torch's, of another format."""

    def older(record: dict[str, Any], _: Any) -> None:
        record.update(format=2, versions={"cellstate": "0.1.0"})

    changed(good.with_name("last.ckpt"), file, older)


def write_safetensors_of_another(file: Path, good: Path) -> None:  # noqa: ARG001
    safetensors.torch.save_file({"weight": torch.zeros(2)}, file, {"format": "pt"})


def write_weights_alone(file: Path, good: Path) -> None:  # noqa: ARG001
    torch.save({"weight": torch.zeros(2)}, file)


def write_whole_module(file: Path, good: Path) -> None:  # noqa: ARG001
    torch.save({"cellstate.weight": Exploding(), "net": torch.nn.Linear(2, 2)}, file)


def write_zip_file(file: Path, good: Path) -> None:  # noqa: ARG001
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "cellstate" * 100)


def write_foreign(file: Path, good: Path) -> None:  # noqa: ARG001
    saved({"state_dict": {"weight": torch.zeros(2)}}, file)


def write_tensor(file: Path, good: Path) -> None:  # noqa: ARG001
    saved(torch.zeros(3), file)


def write_newer(file: Path, good: Path) -> None:
    changed(good, file, lambda record, _: record.update(format=99))


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (write_garbage, "not a checkpoint of cellstate, or damaged"),
        (write_nothing, "is empty; use another copy of it"),
        (write_half, "damaged"),
        (write_half_of_last, "damaged or truncated: no checksum at its end; use another copy of it"),
        (write_flipped, "damaged: checksum mismatch; use another copy"),
        (write_flipped_last, "damaged: checksum mismatch; use another"),
        (write_without_checksum, "not a checkpoint of cellstate; no code in it was executed"),
        (
            write_older_format,
            "format 2, written by cellstate 0.1.0; this version reads 3: use that version, or train again",
        ),
        (write_safetensors_of_another, "not a checkpoint of cellstate; no code in it was"),
        (
            write_weights_alone,
            "not a checkpoint of cellstate; no code in it was executed; give a",
        ),
        (write_whole_module, "not a checkpoint of cellstate; no code in it was executed; give a"),
        (write_zip_file, "not a checkpoint of cellstate; no code in it was executed; give a"),
        (write_foreign, "a checkpoint, but not one of cellstate"),
        (write_tensor, "a checkpoint, but not one of cellstate"),
        (write_newer, "format 99 is newer than this version of cellstate supports (3); upgrade"),
    ],
)
def test_a_file_that_is_no_good_checkpoint_is_refused(
    cellstate: Command, good: Path, write: Make, complaint: str
) -> None:
    write(Path("bad.ckpt"), good)
    for words in (("evaluate",), ("generate",), ("predict", "input=new.csv", "output=out.csv")):
        answer = cellstate(*words, "checkpoint=bad.ckpt")
        assert answer.status == 2
        (line,) = answer.errors
        assert line.startswith(f"cellstate: error: bad.ckpt: {complaint}")
        assert not Path("exploded").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_inspect_says_how_weights_of_a_plain_script_are_opened(cellstate: Command, legacy: bool) -> None:
    weights = torch.nn.LSTM(2, 3).state_dict()
    torch.save(weights, "my model.pt", _use_new_zipfile_serialization=not legacy)
    answer = cellstate("inspect", "checkpoint='my model.pt'")
    assert answer.status == 2
    (line,) = answer.errors
    assert line.startswith("cellstate: error: my model.pt: no")
    assert "cellstate.inspection.analysis.load_plain, see docs/inspection.md" in line
    assert [file.name for file in Path().iterdir()] == ["my model.pt"]


def test_inspect_keeps_what_it_says_of_an_older_format(cellstate: Command, good: Path) -> None:
    write_older_format(Path("old.ckpt"), good)
    (line,) = cellstate("inspect", "checkpoint=old.ckpt").errors
    assert "format 2, written by cellstate 0.1.0" in line
    assert "load_plain" not in line


def test_a_checkpoint_that_is_not_there_is_named_with_the_nearest(cellstate: Command) -> None:
    Path("best.ckpt").write_bytes(b"")
    Path("empty").mkdir()
    for word, complaint in (
        ("checkpoint=bets.ckpt", "checkpoint=bets.ckpt: no such file; did you mean 'best.ckpt'?"),
        ("checkpoint=empty", "checkpoint=empty: the folder has no checkpoints/best.ckpt"),
        (
            "checkpoint=null",
            "checkpoint: required: a checkpoint file, or a run folder, whose best one is used; "
            "cellstate evaluate checkpoint=FILE",
        ),
        ("chekpoint=best.ckpt", "chekpoint: unknown key; did you mean 'checkpoint'?"),
        ("data.pth=x", "data.pth: unknown key; did you mean 'data.path'?"),
    ):
        answer = cellstate("evaluate", word)
        assert (answer.status, answer.errors) == (2, [f"cellstate: error: {complaint}"])


def test_a_run_that_is_not_there_is_named_with_the_newest_one_beside_it(cellstate: Command) -> None:
    for age, name in enumerate(("2026-11-21_10-00-00_1a2b3c", "2026-11-20_10-00-00_4d5e6f", "no run")):
        folder = Path("outputs", name)
        (folder if name == "no run" else folder / "checkpoints").mkdir(parents=True)
        os.utime(folder, (0, 1e9 - age))
    (line,) = cellstate("evaluate", "checkpoint=outputs/NAME").errors
    newest = Path("outputs", "2026-11-21_10-00-00_1a2b3c")
    assert line.endswith(f"checkpoint=outputs/NAME: no such file; the newest run there is {newest}")


# ---------------------------------------------------------------------- records that do not fit


def change_target(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["config"]["backbone"]["_target_"] = "os.system"


def add_argument(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["config"]["backbone"]["wheels"] = 4


def drop_model(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    del record["config"]["model"]


def drop_spec(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    del record["spec"]


def drop_weights(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    del content["state_dict"]["head.bias"]


def huge_network(record: dict[str, Any], content: dict[str, Any]) -> None:  # noqa: ARG001
    record["config"]["backbone"]["hidden_size"] = 10**12


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (change_target, "has backbone='os.system', which is not one of GRU, LSTM, RNN"),
        (add_argument, "the checkpoint's config: backbone.wheels: unknown key"),
        (drop_model, "invalid record (config.model); it was modified"),
        (drop_spec, "invalid record (spec); it was modified"),
        (drop_weights, "the checkpoint's model cannot be built from its record (weight head.bias: none stored"),
        (huge_network, "the checkpoint's model cannot be built from its record"),
    ],
)
def test_a_record_that_was_tampered_with_is_refused(
    cellstate: Command, good: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], complaint: str
) -> None:
    changed(good, Path("changed.ckpt"), change)
    answer = cellstate("evaluate", "checkpoint=changed.ckpt")
    assert answer.status == 2, answer.stderr
    (line,) = answer.errors
    assert complaint in line
    with pytest.raises(RequestError):
        package.load("changed.ckpt")


def test_numbers_that_do_not_come_out_again_are_told(cellstate: Command, good: Path) -> None:
    def better(record: dict[str, Any], _: Any) -> None:
        record["metrics"]["test"]["loss"] += 0.5

    changed(good, Path("changed.ckpt"), better)
    answer = cellstate("evaluate", "checkpoint=changed.ckpt")
    assert answer.status == 1
    assert "reproduced: 7 of 8 metrics identical" in answer.stdout
    (line,) = answer.errors
    assert "1 of 8 metrics differ from the recorded ones, such as test/loss" in line


def test_what_could_not_be_read_again_is_not_written(good: Path, tmp_path: Path) -> None:
    file, last = tmp_path / "best.ckpt", good.with_name("last.ckpt")
    shutil.copy(good, file)
    for whole, strange, what in (
        (last, {"callbacks": {"mine": {"seen": object()}}}, "callbacks.mine.seen is a builtins.object"),
        (last, {"callbacks": {"mine": {(1, 2): 3}}}, "callbacks.mine has a key that is a tuple"),
        (last, {"hyper_parameters": {"backbone": torch.nn.Linear(1, 1)}}, "hyper_parameters.backbone is a torch.nn"),
        (last, {"callbacks": {"mine": torch.zeros(1).expand(8)}}, "callbacks.mine is a torch.Tensor"),
        (last, {"callbacks": {"mine": torch.zeros(8, dtype=torch.uint16)}}, "callbacks.mine is a torch.Tensor"),
        (last, {"callbacks": {"mine": [torch.zeros(1) for _ in range(25_001)]}}, "contains 100,"),
        (good, {"cellstate": {"config": {"seen": object()}}}, "cellstate.config.seen is a builtins.object"),
        (good, {"cellstate": {"mean": torch.zeros(1)}}, "cellstate.mean is a torch.Tensor"),
        (good, {"cellstate": {"text": "x" * 2**24}}, "its record has more than 16,777,216 bytes"),
        (good, {"state_dict": {"weight": torch.zeros(2, 2).to_sparse()}}, "state_dict.weight is not a dense tensor"),
        (
            good,
            {"state_dict": {"weight": torch.zeros(2, dtype=torch.complex128)}},
            "a weight of dtype torch.complex128",
        ),
    ):
        with pytest.raises(RunError, match="store only plain values and tensors") as caught:
            checkpoint.write({**checkpoint.read(whole), **strange}, file)
        assert what in str(caught.value)
    assert file.read_bytes() == good.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]


# ---------------------------------------------------------------------- going on from a broken one


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_run_is_told_that_its_checkpoint_is_damaged_and_what_to_do(name: str, good: Path, cellstate: Command) -> None:
    shutil.copytree(good.parents[1], "run")
    manifest = Path("run/manifest.json")
    manifest.write_text(manifest.read_text().replace('"completed"', '"interrupted"'))
    before, file = manifest.read_text(), Path("run/checkpoints") / f"{name}.ckpt"
    write_half(file, file)
    answer = cellstate("train", "run=run")
    assert answer.status == 2
    (error,) = answer.errors
    assert error.startswith(f"cellstate: error: {file}: damaged")
    assert error.endswith("; use another copy of it, or remove run/checkpoints, and run=run starts from scratch")
    assert manifest.read_text() == before, "nothing was touched"
    shutil.rmtree("run/checkpoints")
    Path("run/checkpoints").mkdir()
    assert cellstate("train", "run=run").status == 0


# ---------------------------------------------------------------------- another task than asked


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, good: Path) -> dict[str, Path]:
    """A checkpoint of each task."""
    folder = tmp_path_factory.mktemp("tasks")
    table = write_csv(folder / "load.csv", series_rows(300))
    steps = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    return {
        "classifier": good,
        "forecaster": train(folder / "series", "series", f"data.path={table}", "data.window=48").checkpoint,
        "language model": train(folder / "text", "char_lm", *steps).checkpoint,
        "next state": train(folder / "states", "next_state", *steps).checkpoint,
        "regressor": train(folder / "adding", "adding", *TINY[1:4], "data.length=10").checkpoint,
    }


def test_each_task_refuses_what_only_another_does(tasks: dict[str, Path], cellstate: Command) -> None:
    write_csv(Path("new.csv"), series_rows(100))
    for task, file in tasks.items():
        if task != "language model":
            answer = cellstate("generate", f"checkpoint={file}")
            assert answer.status == 2
            (line,) = answer.errors
            assert "which does not generate text; give the checkpoint of a language model" in line
        if task != "forecaster":
            assert refusal(lambda file=file: package.backtest(file)).startswith(
                "a backtest needs a forecaster; this model is a "
            )
            line = refusal(lambda file=file: predict_file(file, "new.csv"))
            assert line
            answer = cellstate("predict", f"checkpoint={file}", "input=new.csv", "output=out.csv")
            assert (answer.status, answer.errors) == (2, [f"cellstate: error: {line}"])
    assert not Path("out.csv").exists()


def test_a_file_for_data_that_is_of_none_or_another_is_refused(tasks: dict[str, Path], cellstate: Command) -> None:
    write_csv(Path("load.csv"), series_rows(300))
    Path("book.txt").write_text("another book altogether " * 300)
    for task, word, complaint in (
        (
            "classifier",
            "data.path=load.csv",
            "data.path: PatternData, the data of this checkpoint, has no argument path; omit it",
        ),
        ("regressor", "data.path=load.csv", "data.path: AddingData, the data of this checkpoint, has no argument path"),
        (
            "language model",
            "data.test_path=load.csv",
            "data.test_path: TextData, the data of this checkpoint, has no argument test_path",
        ),
        ("forecaster", "data.path=book.txt", "book.txt"),
        ("forecaster", "data.path=nowhere.csv", "data.path=nowhere.csv: no such file"),
        ("forecaster", "data.path=[1,2]", "data.path=[1,2]: should be a valid string"),
        ("language model", "data.path=book.txt", "not the data that this model was trained on"),
        ("next state", "data.path=book.txt", "book.txt has 1 sequence of at least two states"),
    ):
        answer = cellstate("evaluate", f"checkpoint={tasks[task]}", word)
        assert answer.status == 2, (task, word, answer.stdout)
        (line,) = answer.errors
        assert complaint in line, (task, word)
