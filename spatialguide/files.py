"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from spatialguide.errors import OutputError

#: In place of a file: standard input or output.
STDIN = "-"
#: How the names of half-written files end.
DRAFT = ".draft"


def place_of(path: Path) -> Path:
    """Where a file is written: links are followed.

    Raises:
        OutputError: what is there is no regular file, such as a folder, a pipe or a device, or the path leads nowhere.
    """
    try:
        place = path.resolve()
        if place.is_dir():
            raise OutputError(f"cannot write '{path}': it is a folder: name a file in it")
        if place.exists() and not place.is_file():
            raise OutputError(f"cannot write '{path}': it is no regular file: name one, or '{STDIN}' where that is allowed")
    except (OSError, RuntimeError, ValueError) as error:  # too long, links in a circle, a NUL
        raise OutputError(
            f"cannot write '{path}': {getattr(error, 'strerror', None) or error}; choose another place"
        ) from error
    return place


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that is written beside `path` and takes its place only when all went well and it is on the disk.

    "-" is standard output. A kill leaves at most a hidden file that ends in DRAFT.

    Raises:
        OutputError: it cannot be written there, see `place_of`.
    """
    if str(path) == STDIN:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    place = place_of(path)
    draft = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}{DRAFT}")
    try:
        with draft.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(place)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}; choose another place") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """A folder to write into, whose files move to `folder` when all went well; where not, none of them is left.

    Raises:
        OutputError: the folder cannot be made there, or a file cannot be written into it.
    """
    try:
        base = folder.resolve()
        while not base.exists():
            base = base.parent
        draft = tempfile.TemporaryDirectory(prefix=".", suffix=DRAFT, dir=base)
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(
            f"cannot write into '{folder}': {getattr(error, 'strerror', None) or error}; choose another"
        ) from error
    with draft:
        yield Path(draft.name)
        for path in filter(Path.is_file, sorted(Path(draft.name).rglob("*"))):
            target = folder / path.relative_to(draft.name)
            make_folder(target.parent)
            try:
                path.replace(place_of(target))
            except OSError as error:
                raise OutputError(f"cannot write '{target}': {error.strerror or error}; choose another place") from error


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
