"""A text too large for memory, encoded once into a file that is mapped into memory instead of read.

The file holds the tokens, then a JSON record of what they are, then the record's length and a mark. It is written
beside its place and moved there when it is whole, and checked before it is used; whatever is wrong with it, or with
what it was made from, it is made anew. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cellstate.data.files.corpus import Corpus
from cellstate.data.files.encoding import Encoded, check_length, encoder, survey
from cellstate.errors import not_written

MARK = b"cellstate tokens"
FORMAT = 1
STRETCH = 2**20  # tokens that are looked at at once


def default_folder() -> Path:
    """Return the folder for cellstate's cache: ``$XDG_CACHE_HOME/cellstate``, else ``~/.cache/cellstate``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellstate"


def encode_in_file(
    corpus: Corpus, shares: Sequence[float], folder: Path, vocabulary: Sequence[str] | None = None
) -> tuple[Encoded, Path]:
    """Return a text encoded, its tokens mapped from a file in ``folder``, and that file.

    With a given vocabulary in place of that of the training part.

    The file is named after the paths of the text and the parameters, so that a text that changes leaves no second one;
    what it was made from (each file's path, size and time of change) stands in its record.

    Raises:
        RequestError: the text cannot be read.
        RunError: the file cannot be written.
    """
    origin = identity(corpus, shares, vocabulary)
    named = [origin[key] for key in ("name", "separator", "shares", "vocabulary") if key in origin]
    key = hashlib.sha256(json.dumps(named).encode()).hexdigest()
    path = folder / f"{Path(origin['name']).stem}-{key[:16]}.tokens"
    found = read(path, origin)
    if found is None:
        write(path, corpus, shares, origin)
        found = read(path, origin)
    if found is None:
        raise not_written(path, OSError("what was written there is not what is read"))
    return found, path


def identity(corpus: Corpus, shares: Sequence[float], vocabulary: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what decides about the tokens of a text, as it stands in the record."""
    states = [(file, file.stat()) for file in corpus.files]
    given = {} if vocabulary is None else {"vocabulary": list(vocabulary)}
    return given | {
        "name": str(Path(corpus.name).expanduser().resolve()),
        "files": [[str(file.resolve()), state.st_size, state.st_mtime_ns] for file, state in states],
        "separator": corpus.separator,
        "shares": list(map(float, shares)),
    }


def write(path: Path, corpus: Corpus, shares: Sequence[float], origin: dict[str, Any]) -> None:
    """Encode a text into ``path``, piece by piece; either the whole file comes to stand there or none."""
    found = survey(corpus.pieces(), shares)
    vocabulary = origin.get("vocabulary", found.vocabulary)
    table = encoder(vocabulary)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    count = checksum = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            for piece in corpus.pieces():
                content = table[piece].tobytes()
                file.write(content)
                count, checksum = count + len(piece), zlib.crc32(content, checksum)
            check_length(corpus, count, found.length)
            record = {
                "format": FORMAT,
                "origin": origin,
                "vocabulary": vocabulary,
                "count": count,
                "type": table.dtype.name,
                "checksum": checksum,
            }
            trailer = json.dumps(record).encode()
            file.write(trailer + len(trailer).to_bytes(8, "little") + MARK)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise not_written(path, error, "; data.cache=FOLDER puts it elsewhere") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def read(path: Path, origin: dict[str, Any]) -> Encoded | None:
    """Return the text that a token file holds; None if there is none, it is damaged, or was made from something else.

    The tokens are mapped, read-only: they take memory that the system can have back at any time.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(-8 - len(MARK), os.SEEK_END)
            size = int.from_bytes(file.read(8), "little")
            if file.read() != MARK or size > end:
                return None
            file.seek(end - size)
            record = json.loads(file.read(size))
        if record["format"] != FORMAT or record["origin"] != origin:
            return None
        kind = np.dtype(record["type"])
        if record["count"] * kind.itemsize != end - size:
            return None
        tokens = np.memmap(path, dtype=kind, mode="r", shape=(record["count"],))
        checksum = 0
        for part in stretches(tokens):
            checksum = zlib.crc32(part.data, checksum)
        return Encoded(tuple(record["vocabulary"]), tokens) if checksum == record["checksum"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stretches(tokens: np.ndarray) -> Iterator[np.ndarray]:
    """Yield ``tokens (N,)`` in order, a bounded number at a time."""
    for start in range(0, len(tokens), STRETCH):
        yield tokens[start : start + STRETCH]
