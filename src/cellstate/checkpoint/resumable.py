"""The file to resume from, ``last.ckpt``: the format of ``torch.save`` with a checksum in its zip comment.

``torch.load(weights_only=True)`` does not execute code from the file, but a hostile file could still make it decompress
large entries, call ``bytearray(10**12)``, which its allowlist permits, or overflow the stack with nested pickles. These
are rejected here. torch itself checks that tensors are within their entries.
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

START = b"PK\3\4"  # first bytes of a zip file
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # first bytes of files of torch before 1.6
MARK = b"cellstate sha256 "
COMMENT = len(MARK) + seal.DIGITS  # bytes
STORAGES = {  # names in the file
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
# Names allowed in a pickle. UntypedStorage, needed for other dtypes, could be called with any size.
NAMES = {
    *(f"torch {name}Storage" for name in STORAGES.values()),
    *("torch._utils _rebuild_tensor_v2", "collections OrderedDict", "collections Counter", "__builtin__ set"),
}
ENTRY = re.compile(
    r"[\w-]+/(data\.pkl|data/\w+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)",
    re.ASCII,
)
MOST_TUPLES = 100_000  # four per tensor; deeply nested ones overflow the stack when hashed


def pack(content: Mapping[str, Any]) -> bytes:
    """Return the content of a file with plain values and tensors.

    Raises:
        RefusedError: other content, which could not be read again.
    """
    check_values(content, is_plain_tensor)
    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        check_pickle(archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl"))))
    body = file.getvalue()[:-2]  # the length of the empty comment
    return seal.seal(body + COMMENT.to_bytes(2, "little") + MARK + seal.BLANK, len(body) + 2 + len(MARK))


def check(content: bytes) -> None:
    """Check the checksum of a file, without reading its content.

    Raises:
        BrokenError: it was truncated or modified.
        ForeignError: another program wrote it.
    """
    place = len(content) - seal.DIGITS
    if content.startswith(START) and content[:place].endswith(COMMENT.to_bytes(2, "little") + MARK):
        return seal.check(content, place)
    if content.startswith(LEGACY) or _is_uncommented(content):
        raise ForeignError("not a checkpoint of cellstate; no code in it was executed")
    raise seal.BrokenError("damaged or truncated: no checksum at its end")


def unpack(content: bytes) -> dict[str, Any]:
    """Return the content of a file: plain values and tensors.

    Args:
        content: content of a file that passed ``check``.

    Raises:
        RefusedError: other content, or it would need more memory than the size of the file.
    """
    members = members_of(content)
    check_pickle(next(member for name, member in members.items() if name.endswith("/data.pkl")))
    try:
        loaded = torch.load(zipped(members), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RefusedError("contains more than plain values and tensors; no code in it was executed") from error
    check_values(loaded, is_plain_tensor)
    if not isinstance(loaded, dict):
        raise RefusedError("a checkpoint, but not one of cellstate: it has no record of its experiment")
    return loaded


def members_of(content: bytes) -> dict[str, bytes]:
    """Return the entries of a zip file by name, if they follow the layout of ``torch.save``.

    Raises:
        RefusedError: entries are compressed, unknown, duplicate, or larger than the file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
                raise _forged("an entry is compressed or encrypted")
            strange = [entry.filename for entry in entries if not ENTRY.fullmatch(entry.filename)]
            if strange:
                raise _forged(f"unknown entry {strange[0][:100]!r}")
            if sum(entry.file_size for entry in entries) > len(content):
                raise _forged("its entries are larger than the file")
            members = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        raise _forged(str(error)[:200]) from error
    if len(members) < len(entries) or sum(name.endswith("/data.pkl") for name in members) != 1:
        raise _forged("duplicate entries, or entries in several folders")
    return members


def zipped(members: Mapping[str, bytes]) -> io.BytesIO:
    """Write the entries to a new zip file: different readers may see different content in a forged one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    file.seek(0)
    return file


def check_pickle(pickled: bytes) -> None:
    """Reject a pickle with names that plain values and tensors do not need, or with excessive nesting.

    Raises:
        RefusedError: with the name.
    """
    tuples = 0
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            tuples += opcode.name.startswith("TUPLE")
            if opcode.name in ("GLOBAL", "INST") and argument not in NAMES:
                shown = ".".join(str(argument).split(" "))[:100]
                raise RefusedError(f"contains more than plain values and tensors ({shown}); no code in it was executed")
    except ValueError as error:
        raise RefusedError("contains no readable record; no code in it was executed") from error
    if tuples > MOST_TUPLES:
        raise RefusedError(f"contains {tuples:,} tuples, more than {MOST_TUPLES:,}")


def is_plain_tensor(value: Any) -> bool:
    """Return whether a value is a dense tensor of a supported dtype, without expanded dimensions."""
    if type(value) is not torch.Tensor or value.layout is not torch.strided or value.is_meta:
        return False
    return value.dtype in STORAGES and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _is_uncommented(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return not archive.comment and content.endswith(b"\0\0")  # without a comment, also no truncated one
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError):
        return False


def _forged(what: str) -> RefusedError:
    return RefusedError(f"invalid layout ({what}); nothing was unpacked")
