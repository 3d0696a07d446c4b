"""A file of torch's in place of a checkpoint that would run something, fill the memory, or pass for what it is not."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import forkserver
from tests.security import forging
from tests.security.conftest import Refusal
from tests.security.forging import FOLDER, Exploding, calling, changed, entries_of, pickled, saved, seal, zipped

import cellstate
from cellstate import checkpoint

Make = Callable[[Path, Path], object]  # writes a file, given that a run resumes from


def in_place_of_a_value(last: Path, file: Path) -> None:
    changed(last, file, lambda record, _: record["config"]["data"].update(pattern=[[Exploding()]]))


def beside_the_values(last: Path, file: Path) -> None:
    changed(last, file, lambda _, content: content.update(callbacks={"mine": {"state": Exploding()}}))


def as_a_key(last: Path, file: Path) -> None:
    key: Any = Exploding()
    changed(last, file, lambda record, _: record.update({key: 1}))


def as_a_whole_module(last: Path, file: Path) -> None:
    changed(last, file, lambda _, content: content.update(model=torch.nn.Linear(2, 2)))


def as_a_program(last: Path, file: Path) -> None:
    """A TorchScript archive: code that torch compiles."""
    zipped(
        {**entries_of(last), f"{FOLDER}constants.pkl": b"\x80\x02).", f"{FOLDER}code/__torch__.py": b"import os"}, file
    )


def as_a_plain_pickle(last: Path, file: Path) -> None:  # noqa: ARG001
    file.write_bytes(pickle.dumps({"state_dict": {}, "cellstate": Exploding()}))


def as_torch_once_saved(last: Path, file: Path) -> None:  # noqa: ARG001
    torch.save({"cellstate": Exploding()}, file, _use_new_zipfile_serialization=False)


def in_a_tar_file(last: Path, file: Path) -> None:  # noqa: ARG001
    with tarfile.open(file, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(Exploding())
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def behind_an_old_pickle(last: Path, file: Path) -> None:
    """A file that begins like torch's old form and ends like a checkpoint: torch goes by its beginning."""
    torch.save({"cellstate": Exploding()}, file, _use_new_zipfile_serialization=False)
    head = file.read_bytes()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries_of(last).items():
            archive.writestr(name, content)
    body = bytearray(file.read_bytes())
    end = body.rindex(b"PK\5\6")
    (start,) = struct.unpack_from("<I", body, end + 16)
    struct.pack_into("<I", body, end + 16, start + len(head))
    at = start
    while body[at : at + 4] == b"PK\1\2":
        (header,) = struct.unpack_from("<I", body, at + 42)
        struct.pack_into("<I", body, at + 42, header + len(head))
        at += 46 + sum(struct.unpack_from("<3H", body, at + 28))
    file.write_bytes(head + bytes(body))
    seal(file)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (in_place_of_a_value, "contains more than plain values and tensors (posix.system); no code in it was executed"),
        (beside_the_values, "contains more than plain values and tensors (posix.system); no code in it was executed"),
        (as_a_key, "contains more than plain values and tensors (posix.system); no code in it was executed"),
        (as_a_whole_module, "contains more than plain values and tensors (torch.nn.modules.linear.Linear)"),
        (as_a_program, "invalid layout (unknown entry 'archive/"),
        (as_a_plain_pickle, "not a checkpoint of cellstate, or damaged; no code in it was executed"),
        (as_torch_once_saved, "not a checkpoint of cellstate; no code in it was executed"),
        (in_a_tar_file, "not a checkpoint of cellstate, or damaged; no code in it was executed"),
        (behind_an_old_pickle, "not a checkpoint of cellstate; no code in it was executed"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_code_in_place_of_a_checkpoint_is_not_run(make: Make, complaint: str, last: Path, refusal: Refusal) -> None:
    file = Path("hostile.ckpt").resolve()
    make(last, file)
    assert refusal(lambda: cellstate.load(file)).startswith(f"{file}: {complaint}")
    assert refusal(lambda: cellstate.evaluate(file)).startswith(f"{file}: {complaint}")
    assert refusal(lambda: cellstate.inspect(file)).startswith(f"{file}: {complaint}")
    trusting = refusal(
        lambda: cellstate.load(file, trust=["os", "posix", "torch"])
    )  # which is about a config's classes
    assert trusting.startswith(f"{file}: {complaint}")


@pytest.mark.parametrize(
    "instructions",
    [
        calling("os", "system", "touch exploded"),
        calling("builtins", "eval", "open('exploded', 'w')"),
        calling("__builtin__", "eval", "open('exploded', 'w')"),
        calling("torch", "load", "other.ckpt"),
        calling("torch.storage", "_load_from_bytes", pickle.dumps(Exploding())),
        calling("torch._utils", "_rebuild_parameter", 1, 2, 3),
        calling("torch._tensor", "_rebuild_from_type_v2", 1, 2, 3, 4),
        calling("torch.hub", "load", "someone/repository", "model"),
        calling("collections.abc", "OrderedDict"),
        b"\x80\x02ctorch\nFloatStorage\nK\x08\x85R.",  # a storage of its own
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0etouch exploded\x85R.",  # protocol 4
        b"\x80\x02(S'touch exploded'\nios\nsystem\n.",  # the oldest ways to call something
        b"\x80\x02(cos\nsystem\nS'touch exploded'\no.",
        b"\x80\x02\x82\x01.",  # a registered extension
        b"\x80\x02c__builtin__\nset\n]]a\x85R.",  # a set of lists
        b"\x80\x02.",
        b"\x80\x02N",
        b"R.",
        b"",
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_pickle_of_other_instructions_is_not_followed(instructions: bytes, refusal: Refusal) -> None:
    file = pickled(instructions, Path("hostile.ckpt").resolve())
    assert refusal(lambda: cellstate.load(file)).startswith(f"{file}: ")


# ---------------------------------------------------------------------- the zip file


def compressed(last: Path, file: Path) -> None:
    """42 kilobytes that unpack to 42 megabytes; and it could be any number of them."""
    zipped({**entries_of(last), f"{FOLDER}data/99": bytes(42 * 2**20)}, file, zipfile.ZIP_DEFLATED)


def overlapping(last: Path, file: Path) -> None:
    """Forty entries that are the same megabyte, as in David Fifield's "better zip bomb"."""
    with zipfile.ZipFile(file, "w") as archive:
        for entry, content in entries_of(last).items():
            archive.writestr(entry, content)
        archive.writestr(f"{FOLDER}data/90", bytes(2**20))
        for number in range(100, 140):
            twin = copy.copy(archive.infolist()[-1])
            twin.filename = f"{FOLDER}data/{number}"
            archive.filelist.append(twin)
    seal(file)


def claiming_more(last: Path, file: Path) -> None:
    """The directory says that an entry is larger than the file."""
    zipped(entries_of(last), file)
    body = bytearray(forging.unsealed(file))
    at = body.rindex(b"PK\1\2")
    struct.pack_into("<2I", body, at + 20, 2**31, 2**31)
    file.write_bytes(body)
    seal(file)


def climbing(name: str) -> Make:
    def make(last: Path, file: Path) -> None:
        zipped({**entries_of(last), name: b"climbed"}, file)

    make.__name__ = f"climbing {name}"
    return make


def twice_the_record(last: Path, file: Path) -> None:
    zipped({**entries_of(last), f"{FOLDER}DATA.PKL": pickle.dumps(Exploding(), 2)}, file)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (compressed, "is compressed or encrypted"),
        (overlapping, "its entries are larger than the file"),
        (claiming_more, "its entries are larger than the file"),
        (climbing("../../.bashrc"), "unknown entry '../../.bashrc'"),
        (climbing("archive/../../.bashrc"), "unknown entry"),
        (climbing("/etc/cron.d/job"), "unknown entry '/etc/cron.d/job'"),
        (climbing("archive/data\\..\\x"), "unknown entry"),
        (climbing("elsewhere/data.pkl"), "duplicate entries, or entries in several folders"),
        (twice_the_record, "unknown entry 'archive/DATA.PKL'"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_forged_directory_is_refused_before_anything_is_unpacked(
    make: Make, complaint: str, last: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("hostile.ckpt").resolve()
    make(last, file)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked to load it"))
    line = refusal(lambda: checkpoint.read(file))
    assert line.startswith(f"{file}: invalid layout (")
    assert complaint in line


def crowded(last: Path, file: Path) -> None:
    zipped({**entries_of(last), **{f"{FOLDER}data/{number}": b"" for number in range(1000, 31_000)}}, file)


def told_twice(last: Path, file: Path) -> None:
    """The wide record, which torch prefers, says other than the narrow one, which others read."""
    body = bytearray(forging.unsealed(last))
    struct.pack_into("<Q", body, body.rindex(b"PK\6\6") + 32, 3)
    file.write_bytes(body)
    seal(file)


@pytest.mark.parametrize("make", [crowded, told_twice])
def test_torch_reads_a_directory_as_it_was_checked(make: Make, last: Path, working_folder: Path) -> None:
    """Two readers of a forged zip file may see two things, so torch is given one that was written anew."""
    make(last, working_folder / "forged.ckpt")
    found, right = (checkpoint.read(file)["state_dict"] for file in (working_folder / "forged.ckpt", last))
    assert found.keys() == right.keys()
    assert all(torch.equal(found[name], right[name]) for name in right)


# ---------------------------------------------------------------------- bombs

# What the record of a checkpoint is replaced with; each is small in the file.
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00"
    b"cpuJ%btQK\x00J%b\x85J%b\x85\x89ccollections\nOrderedDict\n)RtR"
)


def tensor_of(numbers: int, size: int, stride: int) -> bytes:
    """Return a pickle of a tensor in an entry that claims so many numbers, and has eight."""
    return b"\x80\x02" + TENSOR % tuple(struct.pack("<i", number) for number in (numbers, size, stride)) + b"."


BOMBS: dict[str, bytes] = {
    "a list in itself, 2^18 times": b"\x80\x02" + b"]" * 2**18 + b"a" * (2**18 - 1) + b".",
    "a tuple in itself as a key": b"\x80\x02})" + b"\x85" * 2**20 + b"Ns.",
    "as many as may be as a key": b"\x80\x02})" + b"\x85" * 99_999 + b"Ns.",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "ten to the thirty values": pickle.dumps(forging.laughs(30), 2),
    "a byte array of a terabyte": calling("__builtin__", "bytearray", 10**12),
    "an untyped storage of a terabyte": calling("torch.storage", "UntypedStorage", 10**12),
    "a storage of a terabyte": b"\x80\x02ctorch\nByteStorage\n\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85R.",
    "a tensor of a terabyte": calling("torch", "FloatTensor", 10**6, 10**6),
    "a tensor without memory": calling(
        "torch._utils", "_rebuild_meta_tensor_no_storage", "float32", (10**9, 10**9), (1, 1), False
    ),
    "a memo of four billion places": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a string of four gigabytes": b"\x80\x02X\xff\xff\xff\xffha.",
    "a number of a megabyte": b"\x80\x02\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + b".",
    "a number of 2000 bits": b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
    "more numbers than the entry has": tensor_of(2**30, 2**30, 1),
    "a shape beyond the entry": tensor_of(8, 2**30, 1),
    "the same number a billion times": tensor_of(8, 2**30, 0),
    "a stride beyond the entry": tensor_of(8, 2, 2**30),
}
LIMITED = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
import cellstate
for file in sys.argv[1:]:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        cellstate.load(file)
        said = ["loaded"]
    except cellstate.errors.CellstateError as error:
        said = list(error.problems)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([said, grown, time.process_time() - began]), flush=True)
"""


def test_small_files_that_unfold_are_refused_in_little_memory(last: Path, working_folder: Path) -> None:
    files = {}
    for number, (name, instructions) in enumerate(BOMBS.items()):
        files[name] = pickled(instructions, working_folder / f"{number}.ckpt", _0=bytes(32))
    records: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
        "laughs in the config": lambda record, _: record["config"]["data"].update(pattern=forging.laughs(12)),
        "laughs for a class": lambda record, _: record["config"]["data"].update(_target_=forging.laughs(12)),
        "laughs in the vocabulary": lambda record, _: record["spec"].update(classes=forging.laughs(12)),
        "laughs beside the record": lambda _, content: content.update(loops={"fit_loop": forging.laughs(12)}),
        "a long name": lambda record, _: record["config"]["data"].update(_target_="a." * 10**7),
        "a weight of one number": lambda _, content: content["state_dict"].update(
            {"head.bias": torch.zeros(1).expand(10**6, 10**6)}
        ),
    }
    for name, change in records.items():
        files[name] = changed(last, working_folder / f"{name.replace(' ', '_')}.ckpt", change)
    answers = forkserver.run(["-c", LIMITED, *files.values()], check=True).stdout.splitlines()
    assert len(answers) == len(files)
    for (name, file), answer in zip(files.items(), map(json.loads, answers), strict=True):
        (line,), grown, seconds = answer
        assert line.startswith(f"{file}: "), name
        assert len(line) < 1000, name
        assert grown < 2**20, f"{name}: took {grown} KiB"
        assert seconds < 60, f"{name}: took {seconds} s of work"


def test_what_torch_saves_is_what_is_read(working_folder: Path, last: Path) -> None:
    """The suite above proves little if good files were refused as well."""
    kinds = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8, torch.bool]
    kinds += [torch.int16, torch.int32, torch.int64, torch.complex64, torch.complex128]
    shared = torch.arange(12.0)
    extra = {
        "kinds": [torch.ones(2, 3).to(kind) for kind in kinds],
        "views": [shared[3:7], shared.view(3, 4).T, shared.view(3, 4)[1:, 2], torch.zeros(0, 10), torch.tensor(1.0)],
        "plain": [None, True, -1, 2**40, 1.5, float("inf"), "ä", (1, (2,)), {"a": {3: []}}, {1, 2}, set()],
    }
    content = {**torch.load(last, weights_only=True), "extra": extra}
    checkpoint.write(content, working_folder / "more.ckpt")
    found = checkpoint.read(working_folder / "more.ckpt")["extra"]
    assert found["plain"] == extra["plain"]
    for name in ("kinds", "views"):
        for was, is_now in zip(extra[name], found[name], strict=True):
            assert was.dtype == is_now.dtype
            assert torch.equal(was, is_now)
    again = saved(content, working_folder / "again.ckpt")
    assert checkpoint.read(again).keys() == content.keys()
