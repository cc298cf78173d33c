"""Requests: one image each, read as a stream from anything that fsspec opens."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from spatialguide.errors import BatchError

FORMATS = (".jsonl", ".csv", ".parquet", ".txt")
_PARQUET_ROWS = 1024


@dataclass(frozen=True)
class Request:
    """One image to draw.

    Attributes:
        index: its number in the input, counted from 0, over prompts and images.
        config: keys of the configuration that it sets on top of the run's, by dotted key.
        id: passed through to the metadata.
        problem: why it cannot be drawn, where that is known already.
    """

    index: int
    prompt: str
    seed: int
    config: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Unit:
    """So many requests in a row: drawn by one worker, and committed as a whole."""

    number: int
    requests: tuple[Request, ...]

    @property
    def digest(self) -> str:
        """Hash of what is asked for: a unit that was committed stands for these requests and no others."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """For a worker elsewhere."""
        return json.dumps({"number": self.number, "requests": [asdict(request) for request in self.requests]}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Unit:
        """What `to_json` wrote."""
        data = json.loads(text)
        return cls(data["number"], tuple(Request(**request) for request in data["requests"]))


def read_units(source: str, size: int, images: int = 1, seed: int = 0) -> Iterator[Unit]:
    """Units of `size` requests, lazily: the file is never held whole.

    Args:
        source: path or URL. `.jsonl` and `.parquet`: a "prompt", and if wanted "seed", "id", "config"; `.csv`: the same as
            columns, others being keys of the configuration; anything else: a prompt a line.
        images: for each prompt, from its seed on.
        seed: of requests that name none.

    Raises:
        BatchError: the file cannot be read, or is not what its name says.
    """
    requests = _numbered(_rows(source), images, seed)
    number = 0
    while chunk := tuple(islice(requests, size)):
        yield Unit(number, chunk)
        number += 1


def _numbered(rows: Iterable[dict[str, Any]], images: int, seed: int) -> Iterator[Request]:
    index = 0
    for row in rows:
        for number in range(images):
            yield _request(index, row, number, seed)
            index += 1


def _request(index: int, row: dict[str, Any], number: int, usual: int) -> Request:
    prompt, config, own = row.get("prompt"), row.get("config"), row.get("id")
    config = {} if config is None else config
    problem = row.get("problem")
    seed = usual if row.get("seed") is None else row["seed"]
    if problem is None:
        problem = _fault(prompt, seed, config)
    return Request(
        index=index,
        prompt=prompt if isinstance(prompt, str) else "",
        seed=usual if problem else int(seed) + number,
        config={} if problem else dict(config),
        id=None if own is None else str(own),
        problem=problem,
    )


def _fault(prompt: Any, seed: Any, config: Any) -> str | None:
    if not isinstance(prompt, str):
        return 'a request needs a text "prompt"'
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        return '"config" must hold keys of the configuration, such as {"guidance.strength": 1.5}'
    try:
        if int(seed) != float(seed) or not 0 <= int(seed) < 2**62:
            raise ValueError
    except (TypeError, ValueError):
        return f'"seed" must be a whole number from 0 on, not {seed!r}'
    return None


def _rows(source: str) -> Iterator[dict[str, Any]]:
    import fsspec

    suffix = PurePosixPath(source.split("::")[0]).suffix.lower()
    try:
        with fsspec.open(source, "rb") as stream:
            if suffix == ".parquet":
                yield from _parquet(stream)
            elif suffix == ".csv":
                yield from _csv(stream)
            else:
                yield from _lines(stream, structured=suffix in (".jsonl", ".ndjson"))
    except (OSError, ImportError, UnicodeDecodeError, csv.Error) as error:
        raise BatchError(f"cannot read requests from '{source}': {error}") from error


def _lines(stream: BinaryIO, structured: bool) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), start=1):
        text = line.strip()
        if not text:
            continue
        if not structured and not text.startswith('{"'):
            yield {"prompt": text}
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            yield {"problem": f"line {number} is not JSON: {error}"}
            continue
        yield row if isinstance(row, dict) else {"problem": f"line {number} is no JSON object"}


def _csv(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    import yaml

    reader = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
    if "prompt" not in (reader.fieldnames or ()):
        raise BatchError('a CSV file of requests needs a column "prompt"')
    for row in reader:
        own = {key: row[key] for key in ("prompt", "id", "seed") if row.get(key)}
        rest = {key: value for key, value in row.items() if key and value and key not in ("prompt", "id", "seed")}
        try:
            yield {**own, "config": {key: yaml.safe_load(value) for key, value in rest.items()}}
        except yaml.YAMLError as error:
            yield {"problem": f"line {reader.line_num}: a value is not valid YAML: {error}"}


def _parquet(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(stream)
    except pyarrow.ArrowInvalid as error:
        raise BatchError(f"the file is no Parquet: {error}") from error
    if "prompt" not in file.schema_arrow.names:
        raise BatchError('a Parquet file of requests needs a column "prompt"')
    for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
        for row in batch.to_pylist():
            # A column of structs holds all keys of all rows.
            config = row.get("config")
            if isinstance(config, dict):
                row["config"] = {key: value for key, value in config.items() if value is not None}
            elif isinstance(config, str):
                row["config"] = json.loads(config) if config else {}
            yield row
