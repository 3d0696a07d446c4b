"""The file that a run resumes from, ``last.ckpt``: what ``torch.save`` writes, with a checksum in its zip comment.

``torch.load(weights_only=True)`` runs no code of the file's choosing. What it would still do for a hostile file is
kept from it here: unpacking compressed entries, calling ``bytearray(10**12)``, which its own list allows, or following
a pickle that overflows the stack. That tensors lie within their entries, torch checks itself.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import torch

from cellstate.checkpoint import seal
from cellstate.checkpoint.format import ForeignError
from cellstate.checkpoint.values import RefusedError, check_values

START = b"PK\3\4"  # of a zip file
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # of files that torch saved before version 1.6
MARK = b"cellstate sha256 "
COMMENT = len(MARK) + seal.DIGITS  # bytes
STORAGES = {  # as torch names them in a file
    torch.float16: "Half",
    torch.bfloat16: "BFloat16",
    torch.float32: "Float",
    torch.float64: "Double",
    torch.complex64: "ComplexFloat",
    torch.complex128: "ComplexDouble",
    torch.bool: "Bool",
    torch.uint8: "Byte",
    torch.int8: "Char",
    torch.int16: "Short",
    torch.int32: "Int",
    torch.int64: "Long",
}
# What a pickle may name. UntypedStorage, which other dtypes need, could be called with any size.
NAMES = {
    *(f"torch {name}Storage" for name in STORAGES.values()),
    *("torch._utils _rebuild_tensor_v2", "collections OrderedDict", "collections Counter", "__builtin__ set"),
}
ENTRY = re.compile(
    r"[\w-]+/(data\.pkl|data/\w+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)",
    re.ASCII,
)
MOST_TUPLES = 100_000  # four for each tensor; some more, each within the next, overflow the stack where hashed


def pack(content: Mapping[str, Any]) -> bytes:
    """Return a file of plain values and tensors.

    Raises:
        RefusedError: it holds something else, which could not be read again.
    """
    check_values(content, is_plain_tensor)
    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        check_pickle(archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl"))))
    body = file.getvalue()[:-2]  # the length of no comment
    return seal.seal(body + COMMENT.to_bytes(2, "little") + MARK + seal.BLANK, len(body) + 2 + len(MARK))


def check(content: bytes) -> None:
    """Refuse a file that is not what ``pack`` returned; its content is not looked at.

    Raises:
        BrokenError: it was cut short or changed.
        ForeignError: another program wrote it.
    """
    place = len(content) - seal.DIGITS
    if content.startswith(START) and content[:place].endswith(COMMENT.to_bytes(2, "little") + MARK):
        return seal.check(content, place)
    if content.startswith(LEGACY) or _is_uncommented(content):
        raise ForeignError("no checkpoint of cellstate: another program wrote it, and nothing of it was run")
    raise seal.BrokenError("damaged or cut short: it does not end with a checksum")


def unpack(content: bytes) -> dict[str, Any]:
    """Return what a file holds: plain values and tensors.

    Args:
        content: of a file that ``check`` has passed.

    Raises:
        RefusedError: it holds anything else, or would take more memory than it has bytes.
    """
    members = members_of(content)
    check_pickle(next(member for name, member in members.items() if name.endswith("/data.pkl")))
    try:
        loaded = torch.load(zipped(members), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RefusedError("holds more than plain values and tensors; nothing of it was run") from error
    check_values(loaded, is_plain_tensor)
    if not isinstance(loaded, dict):
        raise RefusedError("a checkpoint, but not one of cellstate: it has no record of its experiment")
    return loaded


def members_of(content: bytes) -> dict[str, bytes]:
    """Return the entries of a zip file by their names, if they are as ``torch.save`` writes them.

    Raises:
        RefusedError: some are compressed, are none of torch's, share a name, or have more bytes than the file together.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
                raise _forged("an entry is compressed or encrypted")
            strange = [entry.filename for entry in entries if not ENTRY.fullmatch(entry.filename)]
            if strange:
                raise _forged(f"an entry is called {strange[0][:100]!r}")
            if sum(entry.file_size for entry in entries) > len(content):
                raise _forged("its entries have more bytes than the file")
            members = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        raise _forged(str(error)[:200]) from error
    if len(members) < len(entries) or sum(name.endswith("/data.pkl") for name in members) != 1:
        raise _forged("its entries share a name, or lie in several folders")
    return members


def zipped(members: Mapping[str, bytes]) -> io.BytesIO:
    """Return a zip file of entries: two readers of a forged one may see two things, of ours there is one reading."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    file.seek(0)
    return file


def check_pickle(pickled: bytes) -> None:
    """Refuse a pickle that names what plain values and tensors do not need, or nests without end.

    Raises:
        RefusedError: says what it names.
    """
    tuples = 0
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            tuples += opcode.name.startswith("TUPLE")
            if opcode.name in ("GLOBAL", "INST") and argument not in NAMES:
                shown = ".".join(str(argument).split(" "))[:100]
                raise RefusedError(f"holds more than numbers ({shown}), which is refused; nothing of it was run")
    except ValueError as error:
        raise RefusedError("holds no record that could be read; nothing of it was run") from error
    if tuples > MOST_TUPLES:
        raise RefusedError(f"holds {tuples:,} tuples; {MOST_TUPLES:,} are enough for {MOST_TUPLES // 4:,} tensors")


def is_plain_tensor(value: Any) -> bool:
    """Say whether a value is an array of numbers, each stored by itself, of one of the dtypes above."""
    if type(value) is not torch.Tensor or value.layout is not torch.strided or value.is_meta:
        return False
    return value.dtype in STORAGES and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _is_uncommented(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return not archive.comment and content.endswith(b"\0\0")  # no comment, and none that was cut off
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError):
        return False


def _forged(what: str) -> RefusedError:
    return RefusedError(f"laid out as no checkpoint is ({what}); nothing of it was unpacked")
