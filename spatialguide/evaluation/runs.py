"""Runs: folders that hold all of a benchmark run, and that can be taken up again after a kill.

manifest.json      what was asked for; a run is never continued with anything else
environment.json   versions and machine that it was started with
rows.jsonl         one line per image, appended and flushed to the disk
images/KEY.png     written before the image's line; KEY is the hash of prompt, seed and configuration
report.*, plots/   made of all these, see `spatialguide.evaluation.report`
"""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from spatialguide.documents import DocumentError, parse_json
from spatialguide.errors import EvaluationError, OutputError, RunWarning
from spatialguide.files import DRAFT, difference, write_bytes, write_text
from spatialguide.pictures.png import png_bytes
from spatialguide.versions import versions


class Run:
    """One run's folder, made if it is not there.

    Args:
        folder: where the run lives.
        manifest: JSON-ready description of what is run.

    Raises:
        EvaluationError: the folder holds a run of something else; the message names the first difference.
        OutputError: it cannot be written there.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self._manifest: dict[str, Any] = json.loads(json.dumps(manifest))
        try:
            (folder / "images").mkdir(parents=True, exist_ok=True)
            self._check_manifest()
            self._rows = self._read_rows()
        except OSError as error:
            raise OutputError(f"cannot keep a run in '{folder}': {error}; choose another --out") from error

    def _check_manifest(self) -> None:
        path = self.folder / "manifest.json"
        if path.exists():
            different = difference(read_manifest(self.folder), self._manifest)
            if different:
                raise EvaluationError(
                    f"'{self.folder}' holds another run ({different}): use a new folder, or the same settings"
                )
            changed = difference(self.environment(), _environment())
            if changed:
                warnings.warn(
                    f"'{self.folder}' was started elsewhere ({changed}): its images may differ in their last bits",
                    RunWarning,
                    stacklevel=3,
                )
            return
        for name, data in (("environment", _environment()), ("manifest", self._manifest)):
            write_text(self.folder / f"{name}.json", json.dumps(data, indent=2))

    def _read_rows(self) -> dict[str, dict[str, Any]]:
        """Rows by key, but for a last line that is cut short: a kill did that, or a process that is writing it now."""
        try:
            rows = [parse_json(line) for line in self._whole_lines().splitlines() if line]
            return {row["key"]: row for row in rows}
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(
                f"'{self._rows_path}' holds a line that is no row: {error}; remove that line, and its image is drawn again"
            ) from error

    def _whole_lines(self) -> bytes:
        path = self._rows_path
        data = path.read_bytes() if path.exists() else b""
        return data[: data.rfind(b"\n") + 1]

    @property
    def _rows_path(self) -> Path:
        return self.folder / "rows.jsonl"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Add images inside this block; what a kill left half written is removed first.

        Raises:
            EvaluationError: another process is writing to the run.
        """
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / ".lock", timeout=0):
                if self._rows_path.exists():
                    os.truncate(self._rows_path, len(self._whole_lines()))
                for draft in (self.folder / "images").glob(f".*{DRAFT}"):
                    draft.unlink()
                self._rows = self._read_rows()
                yield
        except Timeout as error:
            raise EvaluationError(f"another process is drawing the run in '{self.folder}': wait for it, or stop it") from error

    def has(self, keys: Iterable[str]) -> bool:
        """Whether all of these images are done, and still there."""
        return all(key in self._rows and self.picture(key).exists() for key in keys)

    def add(self, key: str, image: Image.Image, row: Mapping[str, Any]) -> None:
        """Keep an image and its row, inside a block of `writing`; one that is there already stays as it is."""
        if self.has([key]):
            return
        write_bytes(self.picture(key), png_bytes(image))
        kept = {"key": key, **row}
        with self._rows_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(kept) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._rows[key] = kept

    def row(self, key: str) -> dict[str, Any]:
        """The row of an image that is done."""
        return self._rows[key]

    def picture(self, key: str) -> Path:
        """Where an image is."""
        return self.folder / "images" / f"{key}.png"

    def environment(self) -> dict[str, Any]:
        """Versions and machine that the run was started with."""
        try:
            found: dict[str, Any] = parse_json((self.folder / "environment.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise EvaluationError(
                f"'{self.folder / 'environment.json'}' is not valid JSON: {error}; use a new folder"
            ) from error
        return found

    def __len__(self) -> int:
        return len(self._rows)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the run in a folder is.

    Raises:
        EvaluationError: there is no run in it.
    """
    try:
        manifest: dict[str, Any] = parse_json((folder / "manifest.json").read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise DocumentError("its manifest is no object")
    except (OSError, ValueError) as error:
        raise EvaluationError(f"'{folder}' holds no run: {error}; give the --out of a `bench` command") from error
    return manifest


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        **versions(),
    }
