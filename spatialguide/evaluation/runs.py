"""Runs: folders that hold all of a benchmark run, and that can be taken up again after a kill.

manifest.json      what was asked for; a run is never continued with anything else
environment.json   versions and machine
rows.jsonl         one line per image, appended and flushed to the disk
images/KEY.png     written before the image's line; KEY is the hash of prompt, seed, method and manifest
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from spatialguide.errors import EvaluationError, OutputError
from spatialguide.files import write_text

_LIBRARIES = ("spatialguide", "torch", "diffusers", "transformers", "spacy", "numpy")


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
        self._digest = hashlib.sha256(json.dumps(self._manifest, sort_keys=True).encode()).hexdigest()
        try:
            (folder / "images").mkdir(parents=True, exist_ok=True)
            self._check_manifest()
            self._rows = self._read_rows()
        except OSError as error:
            raise OutputError(f"cannot keep a run in '{folder}': {error}") from error

    def _check_manifest(self) -> None:
        path = self.folder / "manifest.json"
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            difference = _difference(known, self._manifest)
            if difference:
                raise EvaluationError(
                    f"'{self.folder}' holds another run ({difference}): use a new folder, or the same settings"
                )
            return
        _write(self.folder / "environment.json", _environment())
        _write(path, self._manifest)

    def _read_rows(self) -> dict[str, dict[str, Any]]:
        """Rows by key; a last line that a kill cut short is removed from the file."""
        path = self.folder / "rows.jsonl"
        if not path.exists():
            return {}
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with path.open("r+b") as stream:
                stream.truncate(len(whole))
        rows = (json.loads(line) for line in whole.splitlines() if line)
        return {row["key"]: row for row in rows}

    def key(self, prompt: str, seed: int, method: str) -> str:
        """What an image is called: the same request has the same key."""
        return hashlib.sha256(json.dumps([self._digest, prompt, seed, method]).encode()).hexdigest()[:20]

    def has(self, keys: Iterable[str]) -> bool:
        """Whether all of these images are done."""
        return all(key in self._rows for key in keys)

    def add(self, key: str, image: Image.Image, row: Mapping[str, Any]) -> None:
        """Keep an image and its row; one that is there already stays as it is."""
        if key in self._rows:
            return
        path = self.picture(key)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        image.save(draft, format="PNG")
        draft.replace(path)
        kept = {"key": key, **row}
        with (self.folder / "rows.jsonl").open("a", encoding="utf-8") as stream:
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

    def __len__(self) -> int:
        return len(self._rows)


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _write(path: Path, data: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(data, indent=2))


def _difference(known: Any, wanted: Any, where: str = "") -> str | None:
    """The first place in which two JSON values differ, in words."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in sorted({*known, *wanted}):
            found = _difference(known.get(key), wanted.get(key), f"{where}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if known == wanted else f"{where} is {json.dumps(known)} there and {json.dumps(wanted)} here"
