"""The store: a folder or bucket that results go to, unit by unit.

manifest.json                what the run is; it is never continued as anything else
images/ab/KEY.png            layout "images"; KEY is the image's content address, ab its first two digits
shards/unit-000012.tar       layout "shards": WebDataset, KEY.png, KEY.txt (the prompt), KEY.json (all that shaped it)
metadata/unit-000012.parquet a row for each request; written last: with it the unit is committed
begun.json                   what the local engine is at; gone when the run has ended
report.json                  counts, at the end

Every file is written whole or not at all: in an object store since its put is atomic, elsewhere by renaming. What a kill leaves
without metadata is drawn again, to the same names.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from spatialguide.batch.painter import DONE, FAILED, Outcome
from spatialguide.batch.requests import Unit
from spatialguide.batch.rows import image_place, row, schema, tar, written
from spatialguide.errors import BatchError, SpatialGuideError
from spatialguide.files import DRAFT, difference, make_folder, write_bytes

Layout = Literal["images", "shards"]
_UNIT = re.compile(r"unit-(\d{6,})\.parquet")
#: fsspec's names of stores whose put is atomic; of others we rename.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "hf", "memory"}
#: Where files wait for their names; a kill leaves them there, and the next start removes them.
_DRAFTS = ".drafts"


@dataclass(frozen=True)
class UnitReport:
    """What a unit came to. seconds: of drawing, summed over its images; step_seconds: of one sampling step of one image."""

    number: int
    done: int
    failed: int
    seconds: float
    step_seconds: float
    skipped: int
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Committed:
    """What is there of a committed unit. failed: requests; damaged: files that are gone or not as they were written."""

    failed: int
    damaged: tuple[str, ...] = ()


class Store:
    """A run's results.

    Args:
        url: a path, or anything that fsspec knows, such as s3://bucket/folder.
        layout: an image a file, or a tar a unit.

    Raises:
        BatchError: the URL names no place, its kind is not installed, or pyarrow is not.
    """

    def __init__(self, url: str, layout: Layout = "images") -> None:
        if not url.strip():
            raise BatchError("--out names no folder: give one, or '.' for this one")
        try:
            import filelock  # noqa: F401 - needed later, which would be late to say so
            import fsspec
            import pyarrow.parquet  # noqa: F401 - the same
        except ImportError as error:
            raise BatchError(f'batches need {error.name}: python -m pip install "spatialguide[scale]"') from error
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except Exception as error:  # some connect at once, and fail in their own ways
            raise BatchError(f"cannot write to '{url}': {_cause(error)}; check the address and its permissions") from error
        self.layout = layout
        self._folders: set[str] = set()
        #: For people, and for workers elsewhere, whose working folder is another.
        self.url, self.address = url, self._files.unstrip_protocol(self._root) if self.is_local else url

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        from fsspec.implementations.local import LocalFileSystem

        return isinstance(self._files, LocalFileSystem)

    @contextmanager
    def opened(self, manifest: Mapping[str, Any]) -> Iterator[set[int]]:
        """Start the run or take it up again; yields the units that are committed. A local store has one driver at a time.

        Raises:
            BatchError: it holds another run, another driver is at work, or it cannot be written.
        """
        wanted = json.loads(json.dumps(manifest))
        with self._locked():
            known = self.manifest()
            if known is None:
                self._write("manifest.json", json.dumps(wanted, indent=2).encode())
            else:
                different = difference(known, wanted)
                if different:
                    raise BatchError(
                        f"'{self.url}' holds another run ({different}): use another folder, or the same settings and versions"
                    )
            yield self._committed()

    def manifest(self) -> dict[str, Any] | None:
        """What the run is that was started here; None where there is none.

        Raises:
            BatchError: it cannot be read.
        """
        found = self._read("manifest.json")
        if found is None:
            return None
        manifest = self._parsed("manifest.json", found, "use another folder")
        threads = manifest.get("threads")
        if threads is not None and (type(threads) is not int or threads < 1):
            raise BatchError(f"'{self.url}/manifest.json' cannot be read: threads is no number; use another folder")
        return manifest

    def begun(self) -> dict[str, int]:
        """What was begun and not finished when a process died here, and how often.

        Raises:
            BatchError: it cannot be read.
        """
        found = self._read("begun.json")
        counts = {} if found is None else self._parsed("begun.json", found, "remove it")
        if not all(type(count) is int for count in counts.values()):
            raise BatchError(f"'{self.url}/begun.json' cannot be read: it does not hold numbers; remove it")
        return counts

    def write_begun(self, counts: Mapping[str, int]) -> None:
        """Note what is begun; nothing leaves no file."""
        if counts:
            self._write("begun.json", json.dumps(counts).encode())
        else:
            self._remove("begun.json")

    def _parsed(self, name: str, content: bytes, remedy: str) -> dict[str, Any]:
        try:
            found = json.loads(content)
            if not isinstance(found, dict):
                raise ValueError("it is no object")
            json.dumps(found)  # nested so deep that it could not be shown
        except (ValueError, RecursionError) as error:
            raise BatchError(f"'{self.url}/{name}' cannot be read: {error}; {remedy}") from error
        return found

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """Errors of the store as BatchError: each kind of store has its own."""
        try:
            yield
        except SpatialGuideError:
            raise
        except Exception as error:
            advice = "check the address and its permissions; the same command goes on where it was"
            raise BatchError(f"cannot {doing} '{self.url}': {_cause(error)}; {advice}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.is_local:
            self._remove(_DRAFTS)
            self._folders.clear()
            yield
            return
        from filelock import FileLock, Timeout

        lock = FileLock(Path(self._root) / ".lock", timeout=0)
        try:
            Path(self._root).mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise BatchError(f"another process is drawing into '{self.url}': wait for it, or stop it") from error
        except OSError as error:
            raise BatchError(f"cannot write to '{self.url}': {error.strerror or error}; choose another --out") from error
        try:
            for draft in Path(self._root).rglob(f".*{DRAFT}"):  # a kill left them
                draft.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def _committed(self) -> set[int]:
        return {int(match[1]) for name in self._units() if (match := _UNIT.fullmatch(name))}

    def _units(self) -> list[str]:
        """Names of the metadata files, in order."""
        folder = self._path("metadata")
        with self._told("list"):
            self._files.invalidate_cache()
            if not self._files.exists(folder):
                return []
            names = [posixpath.basename(str(path)) for path in self._files.ls(folder, detail=False)]
        return sorted(filter(_UNIT.fullmatch, names))

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> UnitReport:
        """Write a unit's images, and then its metadata."""
        import pyarrow as pa
        import pyarrow.parquet

        name = f"unit-{unit.number:06d}"
        shard = f"shards/{name}.tar"
        drawn = [outcome for outcome in outcomes if outcome.status == DONE]
        if self.layout == "shards":
            files = {shard: tar(drawn)} if drawn else {}
        else:
            files = {image_place(outcome.key): outcome.png or b"" for outcome in drawn}
        self._write_all(files)
        rows = []
        for outcome in outcomes:
            place = shard if self.layout == "shards" else image_place(outcome.key)
            place = place if outcome.status == DONE else ""
            rows.append(row(outcome, place, files.get(place, b"")))
        counts = {"done": str(len(drawn)), "failed": str(len(outcomes) - len(drawn))}
        table = pa.Table.from_pylist(rows, schema=schema({"digest": unit.digest, **counts}))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer)
        self._write(f"metadata/{name}.parquet", buffer.getvalue())
        if self.layout == "shards" and not drawn:
            # Of an earlier try of the unit, which no row names any more.
            self._remove(shard)
        seconds = sum(outcome.seconds for outcome in drawn)
        return UnitReport(
            number=unit.number,
            done=len(drawn),
            failed=len(outcomes) - len(drawn),
            seconds=seconds,
            step_seconds=seconds / max(1, sum(outcome.steps for outcome in drawn)),
            skipped=sum(outcome.skipped for outcome in drawn),
            errors=tuple(f"request {o.request.index}: {o.error}" for o in outcomes if o.status == FAILED),
        )

    def has(self, number: int) -> bool:
        """Whether a unit is committed, by whomever: what this process has listed may be old."""
        with self._told("read from"):
            self._files.invalidate_cache()
            return bool(self._files.exists(self._path(f"metadata/unit-{number:06d}.parquet")))

    def committed(self, unit: Unit, verify: bool = False) -> Committed:
        """What is there of a committed unit: its images must be there in their size, with `verify` in every byte.

        Raises:
            BatchError: it stands for other requests, since the input was changed, or its metadata cannot be read.
        """
        import pyarrow.parquet

        path = f"metadata/unit-{unit.number:06d}.parquet"
        try:
            table = pyarrow.parquet.read_table(io.BytesIO(self._read(path) or b""))
            digest, failed = table.schema.metadata[b"digest"].decode(), int(table.schema.metadata[b"failed"])
            unknown = {entry for entry in set(written(table)) if not self._is_whole(*entry, verify)}
            # Another unit may have drawn the same request, and written it last, with other last bits.
            others = self._written if unknown else {}
            damaged = {name for name, *_ in unknown if not any(self._is_whole(*e, verify) for e in others.get(name, ()))}
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise BatchError(f"'{self.url}/{path}' cannot be read: {error}; remove it, and the unit is drawn again") from error
        if digest != unit.digest:
            raise BatchError(
                f"'{self.url}' holds results of other requests (unit {unit.number}): the input has changed; use another folder"
            )
        return Committed(failed, tuple(sorted(damaged)))

    def _is_whole(self, name: str, size: int, sha256: str, verify: bool) -> bool:
        if verify:
            content = self._read(name)
            return content is not None and hashlib.sha256(content).hexdigest() == sha256
        if self.is_local:
            path = Path(self._path(name))
            return path.is_file() and path.stat().st_size == size
        return self._sizes.get(self._path(name)) == size

    @cached_property
    def _written(self) -> dict[str, list[tuple[str, int, str]]]:
        """What all committed units have written, by name."""
        import pyarrow.parquet

        found: dict[str, list[tuple[str, int, str]]] = {}
        for name in self._units():
            for entry in written(pyarrow.parquet.read_table(io.BytesIO(self._read(f"metadata/{name}") or b""))):
                found.setdefault(entry[0], []).append(entry)
        return found

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Of all images, as they were at the start: listing a bucket is one request for a thousand files."""
        with self._told("list"):
            folders = [self._path(name) for name in ("images", "shards")]
            found = [self._files.find(folder, detail=True) for folder in folders if self._files.exists(folder)]
        return {str(path): about["size"] for files in found for path, about in files.items()}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Metadata of every request, unit by unit."""
        import pyarrow.parquet

        for name in self._units():
            yield from pyarrow.parquet.read_table(io.BytesIO(self._read(f"metadata/{name}") or b"")).to_pylist()

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write report.json."""
        self._write("report.json", json.dumps(report, indent=2).encode())

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name)

    def _read(self, name: str) -> bytes | None:
        path = self._path(name)
        with self._told("read from"):
            return bytes(self._files.cat_file(path)) if self._files.exists(path) else None

    def _remove(self, name: str) -> None:
        with self._told("write to"):
            if self._files.exists(self._path(name)):
                self._files.rm(self._path(name), recursive=True)

    def _write(self, name: str, content: bytes) -> None:
        self._write_all({name: content})

    def _write_all(self, contents: Mapping[str, bytes]) -> None:
        """Each whole or not at all; to a bucket many at once, since each takes the time of a round trip."""
        if not self.is_local:
            with self._told("write to"):
                self._pipe({self._path(name): content for name, content in contents.items()})
            return
        for name, content in contents.items():
            path = Path(self._path(name))
            make_folder(path.parent)
            write_bytes(path, content)

    def _pipe(self, contents: Mapping[str, bytes]) -> None:
        """What `_write_all` says, elsewhere than on this machine."""
        protocols = self._files.protocol
        if not _OBJECT_STORES.isdisjoint({protocols} if isinstance(protocols, str) else protocols):
            self._files.pipe(dict(contents))
            return
        for path, content in contents.items():
            draft = self._path(f"{_DRAFTS}/{uuid.uuid4().hex}")
            for folder in {posixpath.dirname(draft), posixpath.dirname(path)} - self._folders:
                self._files.makedirs(folder, exist_ok=True)
                self._folders.add(folder)
            self._files.pipe_file(draft, content)
            try:
                self._files.mv(draft, path)
            except Exception:  # some do not move over a file that is there
                if not self._files.exists(path):
                    raise
                self._files.rm_file(path)
                self._files.mv(draft, path)


def _cause(error: Exception) -> str:
    """What went wrong in one line; some errors say nothing."""
    return " ".join(str(error).split()) or type(error).__name__
