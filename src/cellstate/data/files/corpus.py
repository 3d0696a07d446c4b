"""The files that a text is made of, read piece by piece: what is found, what is skipped, which bytes are no UTF-8."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellstate.data.files.reading import existing_file
from cellstate.errors import RequestError, did_you_mean

PIECE = 2**18  # bytes that are read, decoded and encoded at once
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Corpus:
    """A text in one or several files, or one that is in memory already.

    Attributes:
        name: what to call it: the path that the user gave.
        files: in the order in which they are read.
        separator: the text between two files.
        skipped: names of what lies in the folder and is hidden, or no text.
        text: the text itself where there are no files.
    """

    name: str
    files: tuple[Path, ...] = ()
    separator: str = "\n"
    skipped: tuple[str, ...] = ()
    text: str = ""

    def nbytes(self) -> int:
        """Return the size of all files together."""
        return sum(file.stat().st_size for file in self.files)

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield the Unicode code points of the whole text, some 2^18 at a time.

        Raises:
            RequestError: bytes are not UTF-8, or a file cannot be read; the message says which and where.
        """
        if self.text:
            yield code_points(self.text)
        for number, file in enumerate(self.files):
            if number and self.separator:
                yield code_points(self.separator)
            yield from decoded(file)


def find_corpus(path: str, pattern: str, separator: str) -> Corpus:
    """Return the file ``path``, or all text files in the folder ``path`` and below it, sorted by their paths.

    Hidden files and folders, and files that hold zero bytes, are skipped; empty files are left out.

    Raises:
        RequestError: there is no such file or folder, or no text in it whose name matches ``pattern``.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return Corpus(path, (existing_file(path, key="data.path"),), separator)
    found: list[Path] = []
    others: list[str] = []  # text, but of other names
    skipped: list[str] = []
    for file in sorted(visible(folder, skipped), key=lambda file: file.relative_to(folder).parts):
        name = file.relative_to(folder).as_posix()
        if not file.is_file() or file.stat().st_size == 0:
            continue
        if not file.match(pattern):
            others.append(name)
        elif is_text(file):
            found.append(file)
        else:
            skipped.append(name)
    if not found:
        why = f"no text file matches data.pattern={pattern}{did_you_mean(pattern, others)}" if others else (
            "the folder holds no text" + (f" (skipped: {some(skipped)})" if skipped else "")
            + "; name a UTF-8 file, or a folder of such files"
        )  # fmt: skip
        raise RequestError(f"data.path={path}: {why}")
    return Corpus(path, tuple(found), separator, tuple(sorted(skipped)))


def visible(folder: Path, hidden: list[str]) -> Iterator[Path]:
    """Yield all files below a folder, and add to ``hidden`` those whose names begin with a dot, folders as such."""
    for place, folders, files in os.walk(folder):
        for names, end in ((folders, "/"), (files, "")):
            dotted = [name for name in names if name.startswith(".")]
            hidden += [(Path(place) / name).relative_to(folder).as_posix() + end for name in dotted]
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in files if not name.startswith("."))


def is_text(file: Path) -> bool:
    """Return whether a file looks like text, as git tells it: no zero byte in its first 8,000.

    UTF-16 is full of them; it counts as text if it says so itself, and is then refused by name, not passed over.
    """
    try:
        with file.open("rb") as stream:
            first = stream.read(8000)
    except OSError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    return first.startswith(UTF_16) or b"\0" not in first


def decoded(file: Path) -> Iterator[np.ndarray]:
    """Yield the code points of one UTF-8 file, a byte order mark left out.

    A character whose bytes lie on both sides of a border between pieces is kept whole.
    """
    decoder, lines = codecs.getincrementaldecoder("utf-8-sig")(), 1
    with file.open("rb") as stream:
        while True:
            piece = stream.read(PIECE)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                line = lines + error.object.count(b"\n", 0, error.start)
                wrong = f"byte {error.object[error.start]:#04x} is not UTF-8"
                if line == 1 and error.start == 0 and error.object.startswith(UTF_16):
                    wrong = "this is UTF-16"
                raise RequestError(f"{file}, line {line}: {wrong}; save the file as UTF-8") from error
            if text:
                yield code_points(text)
                lines += text.count("\n")
            if not piece:
                return


def code_points(text: str) -> np.ndarray:
    """Return the Unicode code points of a text, ``(N,)`` uint8 where it is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)


def python_topics() -> Corpus:
    """Return the English help topics of this Python, one after the other in the order of their names."""
    from pydoc_data.topics import topics

    return Corpus("pydoc_data", text="\n".join(topics[name] for name in sorted(topics)))


def some(names: list[str] | tuple[str, ...], shown: int = 3) -> str:
    """Return the first of some names, and how many more there are."""
    rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
