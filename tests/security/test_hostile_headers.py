"""A shared checkpoint whose header, or whose record in it, claims what is not so; each has a good checksum."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from tests import forkserver
from tests.conftest import slow
from tests.security import forging
from tests.security.conftest import Refusal
from tests.security.forging import BLANK, changed, parts_of, shared, with_header

import cellstate
from cellstate import checkpoint
from cellstate.checkpoint.values import RefusedError, check_values

Make = Callable[[Path, Path], object]  # writes a file, given a good one
WEIGHT = "head.weight"  # 2×8 numbers of 32 bits


def describing(**values: Any) -> Make:
    """Return a change to what the header says of one weight."""

    def make(good: Path, file: Path) -> None:
        header, body = parts_of(good)
        header[WEIGHT].update(values)
        with_header(header, body, file)

    return make


def about(**values: Any) -> Make:
    """Return a change to the metadata."""

    def make(good: Path, file: Path) -> None:
        header, body = parts_of(good)
        header["__metadata__"].update(values)
        with_header(header, body, file)

    return make


def saying(text: bytes | str, length: int | None = None) -> Make:
    """Return a file with another header altogether, with a place for the checksum in it."""
    words = text.encode() if isinstance(text, str) else text

    def make(good: Path, file: Path) -> None:
        with_header(words, parts_of(good)[1], file, length)

    return make


def recording(text: str) -> Make:
    """Return a file with another text in place of its record."""
    return lambda good, file: shared(safetensors.torch.load_file(good), text, file)


def twice(name: str) -> Make:
    """Return a file whose header has a key twice."""

    def make(good: Path, file: Path) -> None:
        header, body = parts_of(good)
        text = json.dumps(header, separators=(",", ":"))
        value = header.get(name, header["__metadata__"].get(name))
        entry = f"{json.dumps(name)}:" + json.dumps(value, separators=(",", ":"))
        place = text.index(f'"{name}":')
        with_header((text[:place] + entry + "," + text[place:]).encode(), body, file)

    return make


def record_twice(good: Path, file: Path) -> None:
    record = parts_of(good)[0]["__metadata__"]["cellstate"]
    shared(safetensors.torch.load_file(good), record.replace('"format"', '"fingerprint": "x", "format"', 1), file)


def more_bytes(good: Path, file: Path) -> None:
    header, body = parts_of(good)
    with_header(header, body + b"\0" * 8, file)


def fewer_bytes(good: Path, file: Path) -> None:
    header, body = parts_of(good)
    with_header(header, body[:-8], file)


def over_each_other(good: Path, file: Path) -> None:
    header, body = parts_of(good)
    header["head.bias"]["data_offsets"] = [0, 8]
    with_header(header, body, file)


def many_of_one(good: Path, file: Path) -> None:
    """A thousand weights that are all the same bytes."""
    header, body = parts_of(good)
    with_header({**header, **{f"more{number}": header[WEIGHT] for number in range(1000)}}, body, file)


SUM = f'"__metadata__":{{"sha256":"{BLANK}"'
LAID_OUT = "invalid layout"
HOSTILE: dict[str, tuple[Make, str]] = {
    "a length of 2^63": (saying(f"{{{SUM}}}}}", 2**63 - 1), "its header cannot be read"),
    "a length beyond the file": (saying(f"{{{SUM}}}}}", 10**6), "its header cannot be read"),
    "no length": (saying(f"{{{SUM}}}}}", 0), "damaged"),
    "20 megabytes of header": (about(more="x" * 20 * 2**20), "its header has 20,9"),
    "20 megabytes of record": (recording(json.dumps("x" * 20 * 2**20)), "its header has 20,9"),
    "a header of 100,000 levels": (
        saying(f"{{{SUM}}}," + '"a":' + "[" * 10**5 + "]" * 10**5 + "}"),
        "too deeply nested",
    ),
    "a record of 100,000 levels": (recording("[" * 10**5 + "]" * 10**5), "its record cannot be read (too deeply"),
    "a record of mappings in each other": (recording('{"a":' * 500 + "1" + "}" * 500), "has more than 64 levels"),
    "a header that is a list": (saying(f"[{{{SUM}}}}}]"), "not a checkpoint of cellstate, or damaged"),
    "no text": (saying(b"{" + SUM.encode() + b',"cellstate":"\xff\xfe"}}'), "its header cannot be read"),
    "half a header": (saying(f"{{{SUM}"), "its header cannot be read"),
    "metadata that are none": (saying(f'{{"__metadata__":[{{"sha256":"{BLANK}"}}]}}'), "no record"),
    "no record": (saying(f"{{{SUM}}}}}"), "not a checkpoint of cellstate: it has no record of its experiment"),
    "a record that is no text": (about(cellstate={"format": 3}), "no record"),
    "an empty record": (recording(""), "its record cannot be read"),
    "a record that is a list": (recording("[1, 2]"), "its record is not a mapping"),
    "a record that is a number": (recording("1" * 10**6), "its record cannot be read"),
    "a record of nothing": (recording("{}"), "it has no record of its experiment"),
    "a record cut short": (recording('{"format": 3, "config": {'), "its record cannot be read"),
    "keys that are mappings": (recording('{"\\u0000pairs": [[{}, 1]]}'), "its record cannot be read"),
    "pairs that are none": (recording('{"\\u0000pairs": 3}'), "its record cannot be read"),
    "two million lists": (recording("[" + "[]," * 2_100_000 + "[]]"), "its record is not a mapping"),
    "two million lists in a mapping": (recording('{"a": [' + "[]," * 2_100_000 + "[]]}"), "more than 2,000,000 values"),
    "a weight twice": (twice(WEIGHT), f"duplicate key '{WEIGHT}'"),
    "metadata twice": (twice("__metadata__"), "duplicate key '__metadata__'"),
    "a record twice": (twice("cellstate"), "duplicate key 'cellstate'"),
    "a part of the record twice": (record_twice, "its record cannot be read (duplicate key 'fingerprint')"),
    "weights over each other": (over_each_other, LAID_OUT),
    "a thousand weights in one place": (many_of_one, LAID_OUT),
    "places beyond the file": (describing(data_offsets=[10**9, 10**9 + 64]), LAID_OUT),
    "places the wrong way round": (describing(data_offsets=[64, 0]), LAID_OUT),
    "negative places": (describing(data_offsets=[-64, 0]), LAID_OUT),
    "places beyond all numbers": (describing(data_offsets=[0, 2**80]), LAID_OUT),
    "a negative size": (describing(shape=[-2, -8]), LAID_OUT),
    "10^12 rows": (describing(shape=[10**12, 8]), LAID_OUT),
    "sizes whose product is small again": (describing(shape=[2**32, 2**32, 16]), LAID_OUT),
    "a size that is a text": (describing(shape=["2", "8"]), LAID_OUT),
    "another shape": (describing(shape=[8, 2]), "weight head.weight: 8×2 stored, 2×8 described"),
    "a dtype that there is not": (describing(dtype="X99"), LAID_OUT),
    "a dtype of other width": (describing(dtype="F64"), LAID_OUT),
    "a weight without a place": (describing(data_offsets=None), LAID_OUT),
    "more bytes than weights": (more_bytes, LAID_OUT),
    "fewer bytes than weights": (fewer_bytes, LAID_OUT),
}


HEAVY = ("two million lists", "two million lists in a mapping")  # seconds of work each


@pytest.mark.parametrize("name", [*(name for name in HOSTILE if name not in HEAVY), *slow(*HEAVY)])
def test_a_hostile_header_is_refused_in_one_line(name: str, good: Path, refusal: Refusal) -> None:
    make, complaint = HOSTILE[name]
    file = Path("hostile.ckpt").resolve()
    make(good, file)
    line = refusal(lambda: cellstate.load(file))
    assert line.startswith(f"{file}: ")
    assert complaint in line


def test_values_are_counted_up_to_the_very_last() -> None:
    """Two million of them, as many as a record may have, take seconds: make test-all reads such files."""
    check_values({"a": [[]] * 998}, most=1000)  # the mapping and the list are values too
    with pytest.raises(RefusedError, match="has more than 1,000 values"):
        check_values({"a": [[]] * 999}, most=1000)


# Reads files with 4 GiB to itself, and says what it was told, and how many KiB of memory it took.
LIMITED = """
import json, resource, sys
import cellstate
from cellstate import checkpoint
resource.setrlimit(resource.RLIMIT_DATA, (4 * 2**30, 4 * 2**30))
for file in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        cellstate.load(file)
        said = "loaded"
    except cellstate.errors.CellstateError as error:
        said = error.problems[0]
    print(json.dumps([said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]), flush=True)
"""


@pytest.mark.parametrize(
    "names",
    [[name for name in HOSTILE if name not in HEAVY], *slow([*HOSTILE])],
    ids=["all but the heavy ones", "all"],
)
def test_no_claim_of_a_header_takes_memory(names: list[str], good: Path, working_folder: Path) -> None:
    files = []
    for number, name in enumerate(names):
        files.append(working_folder / f"{number}.ckpt")
        HOSTILE[name][0](good, files[-1])
    answers = forkserver.run(["-c", LIMITED, *files], check=True).stdout.splitlines()
    for name, file, answer in zip(names, files, map(json.loads, answers), strict=True):
        said, grown = answer
        assert said.startswith(f"{file}: "), name
        assert grown < 2**20 + 20 * file.stat().st_size / 1024, f"{name}: took {grown} KiB"


# ---------------------------------------------------------------------- good files come back as they were


def test_any_reader_of_safetensors_reads_a_checkpoint(good: Path) -> None:
    ours = checkpoint.read(good)
    with safetensors.safe_open(good, framework="pt") as file:
        record = json.loads(file.metadata()["cellstate"])
        assert file.metadata()["format"] == "pt"
        assert set(file.keys()) == ours["state_dict"].keys()
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in ours["state_dict"].items())
    assert record == ours["cellstate"]
    assert record["format"] == checkpoint.FORMAT
    assert record.keys() >= {"config", "spec", "metrics", "fingerprint", "versions", "git", "machine"}


def test_numbers_of_a_record_come_back_to_the_last_bit(good: Path, working_folder: Path) -> None:
    # 17 digits tell doubles apart (IEEE 754), so neighbours, the smallest and the largest must differ after reading.
    numbers = [0.1 + 0.2, 0.3, 5e-324, 1.7976931348623157e308, 1 / 3, -0.0, float("inf"), float("-inf"), float("nan")]
    content = checkpoint.read(good)
    content["cellstate"]["metrics"]["val"] = {f"n{number}": value for number, value in enumerate(numbers)}
    keyed = {0: 4, 2**40: [1], "a": None, True: "one", 1.5: {}}
    content["cellstate"]["config"]["callbacks"] = {"mine": {"scheduling": keyed}}
    checkpoint.write(content, working_folder / "numbers.ckpt")
    found = checkpoint.read(working_folder / "numbers.ckpt")["cellstate"]
    bits = [struct.pack("<d", value) for value in found["metrics"]["val"].values()]
    assert bits == [struct.pack("<d", value) for value in numbers]
    assert found["config"]["callbacks"]["mine"]["scheduling"] == keyed
    assert [type(key) for key in found["config"]["callbacks"]["mine"]["scheduling"]] == [type(key) for key in keyed]


def test_weights_come_back_in_every_dtype_and_layout(good: Path, working_folder: Path) -> None:
    kinds = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.bool, torch.uint8]
    kinds += [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64, torch.float8_e4m3fn]
    shared_memory, chance = torch.arange(12.0), torch.Generator().manual_seed(0)
    weights = {str(kind): torch.randn(2, 3, generator=chance).to(kind) for kind in kinds}
    weights |= {"tied": shared_memory, "tied again": shared_memory, "part": shared_memory[3:7]}
    weights |= {"turned": shared_memory.view(3, 4).T, "one": torch.tensor(1.5), "none": torch.zeros(0, 10)}
    weights |= {"repeated": torch.ones(1).expand(4), "not numbers": torch.tensor([float("nan"), float("inf")])}
    content = {"state_dict": weights, "cellstate": checkpoint.read(good)["cellstate"]}
    checkpoint.write(content, working_folder / "more.ckpt")
    found = checkpoint.read(working_folder / "more.ckpt")["state_dict"]
    assert found.keys() == weights.keys()
    for name, was in weights.items():
        assert (found[name].dtype, found[name].shape) == (was.dtype, was.shape)
        bits = [tensor.contiguous().flatten().view(torch.uint8) for tensor in (found[name], was)]
        assert torch.equal(*bits), name


def test_a_changed_record_with_a_good_checksum_is_read(good: Path, working_folder: Path) -> None:
    """The suite above proves little if forged files were refused for how they were made."""
    file = changed(good, working_folder / "same.ckpt", lambda *_: None)
    assert cellstate.evaluate(file).differing == []
    header, body = forging.parts_of(good)
    assert cellstate.evaluate(with_header(header, body, working_folder / "again.ckpt")).differing == []
