"""The file to share, ``best.ckpt``: safetensors, with the record in its header as JSON.

    8 bytes    length N of the header, little-endian
    N bytes    JSON: dtype, shape and offsets of each weight, and under ``__metadata__`` three strings:
               ``cellstate``  the record, as nested JSON
               ``sha256``     checksum of the file
               ``format``     ``pt`` for PyTorch
    the rest   values of the weights

It cannot contain code. safetensors checks all shapes and offsets against the file size before it creates a tensor.
The format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from cellstate.checkpoint import seal
from cellstate.checkpoint.record import KEY
from cellstate.checkpoint.values import RefusedError

LENGTH = 8  # bytes of the header length
MOST_IN_HEADER = 2**24  # bytes; a typical header has a few thousand
METADATA = "__metadata__"
MARK = b'"sha256":"'  # within JSON strings the quotes would be escaped
PAIRS = "\0pairs"  # marks a mapping with other keys than strings


class ForeignError(RefusedError):
    """Another program wrote the file."""


def pack(weights: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    """Return the content of a file with weights and a record.

    Raises:
        RefusedError: the record is too large or not JSON-serializable, or a weight is not a dense tensor.
    """
    try:
        text = json.dumps(_to_json(record))
    except (TypeError, ValueError) as error:
        raise RefusedError(f"its record is not JSON-serializable ({error})") from error
    strange = [name for name, tensor in weights.items() if tensor.layout is not torch.strided or tensor.is_meta]
    if strange:
        raise RefusedError(f"state_dict.{strange[0]} is not a dense tensor")
    # Copies: safetensors accepts neither tensors that share memory, such as tied weights, nor views.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    try:
        content = safetensors.torch.save(tensors, {KEY: text, "sha256": seal.BLANK.decode(), "format": "pt"})
    except KeyError as error:  # in its table of dtypes
        raise RefusedError(f"state_dict has a weight of dtype {error}, which safetensors does not support") from error
    if len(header_of(content)) > MOST_IN_HEADER:
        raise RefusedError(f"its record has more than {MOST_IN_HEADER:,} bytes")
    return seal.seal(content, content.index(MARK) + len(MARK))


def check(content: bytes) -> None:
    """Check the checksum of a file, without reading its content.

    Raises:
        BrokenError: it was truncated or modified.
        ForeignError: another program wrote it.
    """
    header = header_of(content)
    place = header.find(MARK)
    if place >= 0:
        seal.check(content, LENGTH + place + len(MARK))
    elif len(header) <= MOST_IN_HEADER and _is_foreign(header):
        raise ForeignError("not a checkpoint of cellstate; no code in it was executed")
    else:
        raise seal.BrokenError("damaged or truncated: no checksum in its header")


def unpack(content: bytes) -> tuple[dict[str, Tensor], Any]:
    """Return weights and record; the latter is not validated.

    Args:
        content: content of a file that passed ``check``.

    Raises:
        RefusedError: its layout is invalid.
    """
    header = header_of(content)
    if len(header) > MOST_IN_HEADER:
        raise RefusedError(f"its header has {len(header):,} bytes, more than {MOST_IN_HEADER:,}")
    metadata = _read_json(header, "its header").get(METADATA)
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise RefusedError("not a checkpoint of cellstate: it has no record of its experiment")
    record = _read_json(text, "its record")
    try:
        return safetensors.torch.load(content), record
    except safetensors.SafetensorError as error:
        raise RefusedError(f"invalid layout ({error}); nothing was loaded") from error


def header_of(content: bytes) -> bytes:
    """Return the header, possibly truncated."""
    return content[LENGTH : LENGTH + int.from_bytes(content[:LENGTH], "little")]


def _is_foreign(header: bytes) -> bool:
    """Return whether a header is complete and has no record of cellstate."""
    try:
        found = _read_json(header, "its header")
    except RefusedError:
        return False
    metadata = found.get(METADATA)
    return not isinstance(metadata, dict) or KEY not in metadata


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value):
            return {key: _to_json(part) for key, part in value.items()}
        return {PAIRS: [[key, _to_json(part)] for key, part in value.items()]}
    return [_to_json(part) for part in value] if isinstance(value, (list, tuple)) else value


def _read_json(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text if isinstance(text, str) else text.decode(), object_pairs_hook=_mapping)
    except (ValueError, TypeError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise RefusedError(f"{what} cannot be read ({reason[:200]}); it was modified") from error
    if not isinstance(found, dict):
        raise RefusedError(f"{what} is not a mapping; it was modified")
    return found


def _mapping(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    """Return a JSON object as a mapping; duplicate keys are rejected, as parsers differ in which one counts."""
    if len(pairs) == 1 and pairs[0][0] == PAIRS:
        pairs = pairs[0][1]
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"duplicate key {str(twice)[:40]!r}")
    return found
