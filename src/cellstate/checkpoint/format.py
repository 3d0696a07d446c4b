"""The file that people share, ``best.ckpt``: safetensors, with the record in its header as JSON.

    8 bytes    length N of the header, little-endian
    N bytes    JSON: dtype, shape and place of each weight, and under ``__metadata__`` three texts:
               ``cellstate``  the record, JSON of its own
               ``sha256``     the checksum of the file
               ``format``     ``pt``: the weights are PyTorch's
    the rest   the weights' numbers

Nothing in it can run. safetensors holds every shape and place against the file's size before it makes a tensor.
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

LENGTH = 8  # bytes that hold the header's length
MOST_IN_HEADER = 2**24  # bytes; that of a run has some thousands
METADATA = "__metadata__"
MARK = b'"sha256":"'  # within texts of a JSON header the quotes would be escaped
PAIRS = "\0pairs"  # marks a mapping with keys that are no texts, which JSON does not know


class ForeignError(RefusedError):
    """Another program wrote the file."""


def looks_like_safetensors(head: bytes) -> bool:
    """Say whether a file begins as safetensors does, by its first nine bytes."""
    return head[LENGTH : LENGTH + 1] == b"{"


def pack(weights: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    """Return a file of weights and a record.

    Raises:
        RefusedError: the record is too large, or holds what JSON cannot; or a weight is no dense tensor.
    """
    try:
        text = json.dumps(_to_json(record))
    except (TypeError, ValueError) as error:
        raise RefusedError(f"its record is no JSON ({error})") from error
    strange = [name for name, tensor in weights.items() if tensor.layout is not torch.strided or tensor.is_meta]
    if strange:
        raise RefusedError(f"state_dict.{strange[0]} is no dense tensor")
    # A copy each: safetensors takes neither tensors that share memory, such as tied weights, nor views.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    try:
        content = safetensors.torch.save(tensors, {KEY: text, "sha256": seal.BLANK.decode(), "format": "pt"})
    except KeyError as error:  # of its table of dtypes
        raise RefusedError(f"state_dict has a weight of {error}, which safetensors does not know") from error
    if len(header_of(content)) > MOST_IN_HEADER:
        raise RefusedError(f"its record has more than {MOST_IN_HEADER:,} bytes")
    return seal.seal(content, content.index(MARK) + len(MARK))


def check(content: bytes) -> None:
    """Refuse a file that is not what ``pack`` returned; its content is not looked at.

    Raises:
        BrokenError: it was cut short or changed.
        ForeignError: another program wrote it.
    """
    header = header_of(content)
    place = header.find(MARK)
    if place >= 0:
        seal.check(content, LENGTH + place + len(MARK))
    elif len(header) <= MOST_IN_HEADER and _is_foreign(header):
        raise ForeignError("no checkpoint of cellstate: another program wrote it, and nothing of it was run")
    else:
        raise seal.BrokenError("damaged or cut short: there is no checksum in its header")


def unpack(content: bytes) -> tuple[dict[str, Tensor], Any]:
    """Return weights and record, which may be anything yet.

    Args:
        content: of a file that ``check`` has passed.

    Raises:
        RefusedError: it is not laid out as described above.
    """
    header = header_of(content)
    if len(header) > MOST_IN_HEADER:
        raise RefusedError(f"its header has {len(header):,} bytes; that of a run has some thousands")
    metadata = _read_json(header, "its header").get(METADATA)
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise RefusedError("no checkpoint of cellstate: it has no record of its experiment")
    record = _read_json(text, "its record")
    try:
        return safetensors.torch.load(content), record
    except safetensors.SafetensorError as error:
        raise RefusedError(f"laid out as no checkpoint is ({error}); nothing of it was loaded") from error


def header_of(content: bytes) -> bytes:
    """Return the header, as far as it is there."""
    return content[LENGTH : LENGTH + int.from_bytes(content[:LENGTH], "little")]


def _is_foreign(header: bytes) -> bool:
    """Say whether a header is whole, and has no record of cellstate's."""
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
        reason = "it has too many levels" if isinstance(error, RecursionError) else str(error)
        raise RefusedError(f"{what} cannot be read ({reason[:200]}); it was changed") from error
    if not isinstance(found, dict):
        raise RefusedError(f"{what} is no mapping; it was changed")
    return found


def _mapping(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    """Return a mapping of JSON, whose keys may not be there twice: readers differ in which of them counts."""
    if len(pairs) == 1 and pairs[0][0] == PAIRS:
        pairs = pairs[0][1]
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"it has the key {str(twice)[:40]!r} twice")
    return found
