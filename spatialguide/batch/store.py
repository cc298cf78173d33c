"""The store: a folder or bucket that results go to, unit by unit.

manifest.json                what the run is; it is never continued as anything else
images/ab/KEY.png            layout "images"; KEY is the image's content address, ab its first two digits
shards/unit-000012.tar       layout "shards": WebDataset, KEY.png, KEY.txt (the prompt), KEY.json (all that shaped it)
metadata/unit-000012.parquet a row for each request; written last: with it the unit is committed
report.json                  counts, at the end

Every file is written whole or not at all: in an object store since its put is atomic, elsewhere by renaming. What a kill leaves
without metadata is drawn again, to the same names.
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spatialguide.batch.painter import DONE, FAILED, Outcome
from spatialguide.batch.requests import Unit
from spatialguide.errors import BatchError, SpatialGuideError
from spatialguide.files import DRAFT, difference, make_folder, write_bytes

Layout = Literal["images", "shards"]
_TEXTS = ("id", "prompt", "status", "key", "file", "error", "description")
_COUNTS = ("steps", "guided_steps", "skipped")
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


class Store:
    """A run's results.

    Args:
        url: a path, or anything that fsspec knows, such as s3://bucket/folder.
        layout: an image a file, or a tar a unit.

    Raises:
        BatchError: the URL's kind is not installed, or pyarrow is not.
    """

    def __init__(self, url: str, layout: Layout = "images") -> None:
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
        try:
            return dict(json.loads(found))
        except (ValueError, TypeError) as error:
            raise BatchError(f"'{self.url}/manifest.json' cannot be read: {error}; use another folder") from error

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
        return {int(name.removeprefix("unit-").removesuffix(".parquet")) for name in self._units()}

    def _units(self) -> list[str]:
        """Names of the metadata files, in order."""
        folder = self._path("metadata")
        with self._told("list"):
            self._files.invalidate_cache()
            if not self._files.exists(folder):
                return []
            names = [posixpath.basename(str(path)) for path in self._files.ls(folder, detail=False)]
        return sorted(name for name in names if name.startswith("unit-") and name.endswith(".parquet"))

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> UnitReport:
        """Write a unit's images, and then its metadata."""
        import pyarrow as pa
        import pyarrow.parquet

        name = f"unit-{unit.number:06d}"
        drawn = [outcome for outcome in outcomes if outcome.status == DONE]
        if self.layout == "shards":
            if drawn:
                self._write(f"shards/{name}.tar", _tar(drawn))
        else:
            files = {}
            for outcome in drawn:
                assert outcome.png is not None
                files[_place(outcome.key)] = outcome.png
            self._write_all(files)
        rows = [self._row(outcome, name) for outcome in outcomes]
        counts = {"done": str(len(drawn)), "failed": str(len(outcomes) - len(drawn))}
        table = pa.Table.from_pylist(rows, schema=_schema({"digest": unit.digest, **counts}))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer)
        self._write(f"metadata/{name}.parquet", buffer.getvalue())
        if self.layout == "shards" and not drawn:
            # Of an earlier try of the unit, which no row names any more.
            self._remove(f"shards/{name}.tar")
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

    def _row(self, outcome: Outcome, unit: str) -> dict[str, Any]:
        request = outcome.request
        place = ""
        if outcome.status == DONE:
            place = f"shards/{unit}.tar" if self.layout == "shards" else _place(outcome.key)
        own = {"index": request.index, "id": request.id, "prompt": request.prompt, "seed": request.seed, "file": place}
        rest = {name: getattr(outcome, name) for name in ("status", "key", "error", "description", "seconds", *_COUNTS)}
        return own | rest

    def has(self, number: int) -> bool:
        """Whether a unit is committed, by whomever: what this process has listed may be old."""
        with self._told("read from"):
            self._files.invalidate_cache()
            return bool(self._files.exists(self._path(f"metadata/unit-{number:06d}.parquet")))

    def failed(self, unit: Unit) -> int:
        """How many requests of a committed unit have failed.

        Raises:
            BatchError: it stands for other requests, since the input was changed, or its metadata cannot be read.
        """
        import pyarrow.parquet

        path = f"metadata/unit-{unit.number:06d}.parquet"
        try:
            known = pyarrow.parquet.read_schema(io.BytesIO(self._read(path) or b"")).metadata
            digest, count = known[b"digest"].decode(), int(known[b"failed"])
        except (ValueError, KeyError, TypeError) as error:
            raise BatchError(f"'{self.url}/{path}' cannot be read: {error}; remove it, and the unit is drawn again") from error
        if digest != unit.digest:
            raise BatchError(
                f"'{self.url}' holds results of other requests (unit {unit.number}): the input has changed; use another folder"
            )
        return count

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


def _place(key: str) -> str:
    return f"images/{key[:2]}/{key}.png"


def _tar(outcomes: Sequence[Outcome]) -> bytes:
    """A WebDataset shard: the same bytes for the same images."""
    from PIL import Image

    from spatialguide.pictures.png import METADATA_KEY

    buffer = io.BytesIO()
    written = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for outcome in outcomes:
            assert outcome.png is not None
            if outcome.key in written:
                continue  # the same request twice is one sample
            written.add(outcome.key)
            with Image.open(io.BytesIO(outcome.png)) as image:
                about = image.info[METADATA_KEY]
            for suffix, content in (("png", outcome.png), ("txt", outcome.request.prompt.encode()), ("json", about.encode())):
                member = tarfile.TarInfo(f"{outcome.key}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _schema(about: dict[str, str]) -> Any:
    import pyarrow as pa

    whole = [pa.field("index", pa.int64()), pa.field("seed", pa.int64())]
    texts = [pa.field(name, pa.string()) for name in _TEXTS]
    numbers = [pa.field("seconds", pa.float64()), *(pa.field(name, pa.int32()) for name in _COUNTS)]
    return pa.schema([*whole, *texts, *numbers], metadata=about)
