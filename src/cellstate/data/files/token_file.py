"""Texts too large for memory, encoded once into a file that is memory-mapped.

The file contains the tokens, a JSON record that describes them, the record's length and a magic string. It is written
to a temporary file and renamed when complete, and verified before use; if it is damaged or its source has changed, it
is written again. It may be deleted at any time.
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
STRETCH = 2**20  # tokens processed at a time


def default_folder() -> Path:
    """Return the folder for cellstate's cache: ``$XDG_CACHE_HOME/cellstate``, else ``~/.cache/cellstate``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellstate"


def encode_in_file(
    corpus: Corpus, shares: Sequence[float], folder: Path, vocabulary: Sequence[str] | None = None
) -> tuple[Encoded, Path]:
    """Return an encoded text whose tokens are mapped from a file in ``folder``, and that file.

    A given vocabulary replaces that of the training part. The file name depends on the path of the text and the
    parameters only, so a modified text overwrites it; path, size and modification time of each source file are in its
    record.

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
        raise not_written(path, OSError("verification after writing failed"))
    return found, path


def identity(corpus: Corpus, shares: Sequence[float], vocabulary: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what determines the tokens of a text, as stored in the record."""
    states = [(file, file.stat()) for file in corpus.files]
    given = {} if vocabulary is None else {"vocabulary": list(vocabulary)}
    return given | {
        "name": str(Path(corpus.name).expanduser().resolve()),
        "files": [[str(file.resolve()), state.st_size, state.st_mtime_ns] for file, state in states],
        "separator": corpus.separator,
        "shares": list(map(float, shares)),
    }


def write(path: Path, corpus: Corpus, shares: Sequence[float], origin: dict[str, Any]) -> None:
    """Encode a text into ``path`` piece by piece; the file appears only when complete."""
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
    """Return the text of a token file; None if it does not exist, is damaged, or is of another origin.

    The tokens are mapped read-only: the system can reclaim their memory at any time.
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
    """Yield ``tokens (N,)`` in order, in parts of bounded size."""
    for start in range(0, len(tokens), STRETCH):
        yield tokens[start : start + STRETCH]
