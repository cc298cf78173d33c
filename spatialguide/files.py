"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from spatialguide.errors import OutputError

#: In place of a file: standard input or output.
STDIN = "-"
#: How the names of half-written files end.
DRAFT = ".draft"


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that is written beside `path` and takes its place only when all went well and it is on the disk.

    Links are followed. What is no regular file (a pipe, a device) is written into; "-" is standard output. A kill leaves at
    most a hidden file that ends in DRAFT.

    Raises:
        OutputError: it cannot be written there.
    """
    if str(path) == STDIN:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    place = path.resolve()
    special = place.exists() and not place.is_file()
    draft = place if special else place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}{DRAFT}")
    try:
        with draft.open("wb") as stream:
            yield stream
            stream.flush()
            if not special:
                os.fsync(stream.fileno())
        if not special:
            draft.replace(place)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}; choose another place") from error
    finally:
        if not special:
            draft.unlink(missing_ok=True)


def json_line(value: Any) -> str:
    """JSON on one line. JSON can hold halves of characters, which cannot be written: they stay escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text file, as `replaced`; halves of characters become escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, as `replaced`."""
    with replaced(path) as stream:
        stream.write(content)


def make_folder(path: Path) -> None:
    """Make a folder where there is none yet. Raises OutputError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder '{path}': {error.strerror or error}; choose another place") from error


def difference(known: Any, wanted: Any, where: str = "") -> str | None:
    """The first place in which two JSON values differ, in words; None where they are equal."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in sorted({*known, *wanted}):
            found = difference(known.get(key), wanted.get(key), f"{where}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if known == wanted else f"{where} is {json.dumps(known)} there and {json.dumps(wanted)} here"
