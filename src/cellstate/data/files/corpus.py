"""The files of a text corpus, read piece by piece."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellstate.data.files.reading import existing_file
from cellstate.errors import RequestError, did_you_mean

PIECE = 2**18  # bytes read, decoded and encoded at a time
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Corpus:
    """A text in one or several files, or in memory.

    Attributes:
        name: its name in messages: the path given by the user.
        files: in reading order.
        separator: the text between two files.
        skipped: names of the files in the folder that are hidden or not text.
        text: the text itself if there are no files.
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
        """Yield the Unicode code points of the text, about 2^18 at a time.

        Raises:
            RequestError: bytes are not valid UTF-8, or a file cannot be read; file and line are named.
        """
        if self.text:
            yield code_points(self.text)
        for number, file in enumerate(self.files):
            if number and self.separator:
                yield code_points(self.separator)
            yield from decoded(file)


def find_corpus(path: str, pattern: str, separator: str) -> Corpus:
    """Return the file ``path``, or all text files in the folder ``path``, recursively, sorted by path.

    Hidden files and folders, files with zero bytes in them, and empty files are skipped.

    Raises:
        RequestError: the path does not exist, or contains no text file that matches ``pattern``.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return Corpus(path, (existing_file(path, key="data.path"),), separator)
    found: list[Path] = []
    others: list[str] = []  # files that do not match the pattern
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
            "the folder contains no text" + (f" (skipped: {some(skipped)})" if skipped else "")
            + "; name a UTF-8 file, or a folder of such files"
        )  # fmt: skip
        raise RequestError(f"data.path={path}: {why}")
    return Corpus(path, tuple(found), separator, tuple(sorted(skipped)))


def visible(folder: Path, hidden: list[str]) -> Iterator[Path]:
    """Yield all files below a folder, and add to ``hidden`` the files and folders whose names start with a dot."""
    for place, folders, files in os.walk(folder):
        for names, end in ((folders, "/"), (files, "")):
            dotted = [name for name in names if name.startswith(".")]
            hidden += [(Path(place) / name).relative_to(folder).as_posix() + end for name in dotted]
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in files if not name.startswith("."))


def is_text(file: Path) -> bool:
    """Return whether a file appears to be text, by the criterion of git: no zero byte in its first 8,000.

    UTF-16 with a byte order mark counts as text, so that it is rejected with an error instead of skipped.
    """
    try:
        with file.open("rb") as stream:
            first = stream.read(8000)
    except OSError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    return first.startswith(UTF_16) or b"\0" not in first


def decoded(file: Path) -> Iterator[np.ndarray]:
    """Yield the code points of one UTF-8 file, without a byte order mark.

    Characters whose bytes span two pieces are decoded correctly.
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
    """Return the Unicode code points of a text, ``(N,)`` uint8 if it is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)


def python_topics() -> Corpus:
    """Return the English help topics of this Python, concatenated in the order of their names."""
    from pydoc_data.topics import topics

    return Corpus("pydoc_data", text="\n".join(topics[name] for name in sorted(topics)))


def some(names: list[str] | tuple[str, ...], shown: int = 3) -> str:
    """Return the first few names, and the number of further ones."""
    rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
