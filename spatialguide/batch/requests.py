"""Prompts of files, and requests of one image each, read as a stream from anything that fsspec opens."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TextIO

from spatialguide.documents import DocumentError, parse_json, parse_yaml
from spatialguide.errors import BatchError, SpatialGuideError
from spatialguide.files import STDIN

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")
#: Where the prompt is: in requests "prompt", in benchmarks as published the first of the others.
_PROMPTS = ("prompt", "Prompt", "Prompts", "prompts", "text")
#: fsspec's names of compressions, by the suffix that says so.
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_PARQUET_ROWS = 1024
_SEEDS = 2**62


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
class Fault:
    """A row of the input that is no request."""

    problem: str


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
        return json.dumps({"number": self.number, "requests": [vars(request) for request in self.requests]}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Unit:
        """What `to_json` wrote."""
        data = json.loads(text)
        return cls(data["number"], tuple(Request(**request) for request in data["requests"]))


def read_units(source: str, size: int, images: int = 1, seed: int = 0, best_of: int = 1) -> Iterator[Unit]:
    """Units of `size` requests, lazily: the file is never held whole.

    Args:
        source: path or URL. `.jsonl`, `.json` (an array) and `.parquet`: a "prompt", and if wanted "seed", "id", "config";
            `.csv`: the same as columns, others being keys of the configuration; anything else: a prompt a line. A second
            suffix `.gz`, `.bz2`, `.xz` or `.zst` says how it is compressed. "-" is standard input.
        images: for each prompt, from its seed on.
        seed: of requests that name none.
        best_of: candidates of each image where a request does not say: so many seeds lie between two images.

    Raises:
        BatchError: the file cannot be read, or is not what its name says.
    """
    requests = _numbered(read_rows(source), images, seed, best_of)
    number = 0
    while chunk := tuple(islice(requests, size)):
        yield Unit(number, chunk)
        number += 1


def _numbered(rows: Iterable[dict[str, Any] | Fault], images: int, seed: int, best_of: int) -> Iterator[Request]:
    index = 0
    for row in rows:
        for number in range(images):
            yield _request(index, row, number, seed, best_of)
            index += 1


def _request(index: int, row: dict[str, Any] | Fault, number: int, usual: int, best_of: int) -> Request:
    if isinstance(row, Fault):
        return Request(index, "", usual, problem=_text(row.problem))
    prompt, own = row.get("prompt"), row.get("id")
    config = {} if row.get("config") is None else row["config"]
    seed = usual if row.get("seed") is None else row["seed"]
    known = {"prompt": _text(prompt if isinstance(prompt, str) else ""), "id": None if own is None else _text(str(own))}
    problem = _problem(prompt, seed, config)
    if problem is not None:
        return Request(index, known["prompt"] or "", usual, id=known["id"], problem=problem)
    config = _flat(config)
    whole = int(seed) + number * _tries(config.get("guidance.best_of", best_of))
    if not 0 <= whole < _SEEDS:
        problem = "its seed is beyond 2**62: take a smaller one, or fewer candidates"
        return Request(index, str(prompt), usual, id=known["id"], problem=problem)
    return Request(index, str(prompt), whole, config, known["id"])


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """With the section `guidance` key by key, so that it is merged with the run's as in a file, not put in its place."""
    section = config.get("guidance")
    if not isinstance(section, dict):
        return config
    rest = {key: value for key, value in config.items() if key != "guidance"}
    return {**{f"guidance.{key}": value for key, value in section.items()}, **rest}


def _tries(value: Any) -> int:
    """Candidates of an image, as the configuration will read them; what it will not read draws nothing."""
    try:
        return max(1, int(value))
    except (TypeError, ValueError, OverflowError):
        return 1


def _problem(prompt: Any, seed: Any, config: Any) -> str | None:
    """Why this is no request that can be drawn, as far as can be said without reading the prompt."""
    if not isinstance(prompt, str):
        return 'a request needs a text "prompt"'
    if _text(prompt) != prompt:
        return "the prompt is no valid text: write it as UTF-8"
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        return '"config" must hold keys of the configuration, such as {"guidance.strength": 1.5}'
    try:
        json.dumps(config, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f'"config" must hold numbers, texts and lists alone: {error}'
    try:
        whole = int(seed)
        sound = not isinstance(seed, (bool, bytes)) and (isinstance(seed, str) or whole == seed) and 0 <= whole < _SEEDS
    except (TypeError, ValueError, OverflowError):
        sound = False
    return None if sound else f'"seed" must be a whole number from 0 to 2**62, not {seed!r:.60}'


def _text(text: str) -> str:
    """What can be written as UTF-8 of a text: JSON can smuggle in half of a character."""
    return text.encode("utf-8", "replace").decode()


def read_rows(source: str) -> Iterator[dict[str, Any] | Fault]:
    """Rows of a file as it has them, lazily; of plain lines each is a "prompt". "-" is standard input.

    Raises:
        BatchError: the file cannot be read, or is not what its name says.
    """
    if source == STDIN:
        yield from _lines(sys.stdin.buffer, structured=False)
        return
    suffix, compression = _format(source)
    try:
        import fsspec

        if compression not in fsspec.compression.compr:
            raise BatchError(f"cannot read prompts from '{source}': install zstandard, or unpack it")
        if suffix in (".csv", ".tsv"):
            # What is not UTF-8 becomes a fault of its row.
            how = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
            with fsspec.open(source, "r", compression=compression, **how) as text:
                yield from _csv(text, "\t" if suffix == ".tsv" else ",")
            return
        with fsspec.open(source, "rb", compression=compression) as stream:
            if suffix == ".parquet":
                yield from _parquet(stream)
            elif suffix == ".json":
                yield from _array(stream)
            else:
                yield from _lines(stream, structured=suffix in (".jsonl", ".ndjson"))
    except SpatialGuideError:
        raise
    except ImportError as error:
        raise BatchError(f"cannot read prompts from '{source}': {error}: pip install \"spatialguide[scale]\"") from error
    except Exception as error:  # each kind of store has its own
        cause = " ".join(str(error).split()) or type(error).__name__
        raise BatchError(f"cannot read prompts from '{source}': {cause}; give a file of {', '.join(FORMATS)}") from error


def _format(source: str) -> tuple[str, str | None]:
    """The suffix that says what a file holds, and fsspec's name of its compression.

    Of a chain such as "simplecache::s3://bucket/a.csv" the first part that has a known one; queries of URLs do not count.
    """
    for part in source.split("::"):
        _, is_url, place = part.rpartition("://")
        path = PurePosixPath(re.split(r"[?#]", place)[0] if is_url else part)
        compression = _COMPRESSIONS.get(path.suffix.lower())
        suffix = (path.with_suffix("") if compression else path).suffix.lower()
        if suffix in (*FORMATS, ".ndjson"):
            return suffix, compression
    return "", compression


def _array(stream: BinaryIO) -> Iterator[dict[str, Any] | Fault]:
    """The one format that is held whole."""
    rows = parse_json(stream.read())
    if not isinstance(rows, list):
        raise BatchError("a .json file of requests must hold an array; name JSON lines .jsonl")
    for number, row in enumerate(rows):
        entry = {"prompt": row} if isinstance(row, str) else row
        yield _named(entry) if isinstance(entry, dict) else Fault(f"entry {number} is no JSON object")


def _lines(stream: BinaryIO, structured: bool) -> Iterator[dict[str, Any] | Fault]:
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            yield Fault(f"line {number} is not UTF-8: {error.reason}")
            continue
        if not text:
            continue
        if not structured and not text.startswith('{"'):
            yield {"prompt": text}
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Fault(f"line {number} is not JSON: {error}")
            continue
        yield _named(row) if isinstance(row, dict) else Fault(f"line {number} is no JSON object")


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its prompt under "prompt"; of one that has it elsewhere only the prompt, "id" and "seed" are meant."""
    column = next((name for name in _PROMPTS if name in row), "prompt")
    if column == "prompt":
        return row
    return {"prompt": row[column], **{key: row[key] for key in ("id", "seed") if key in row}}


def _csv(stream: TextIO, delimiter: str) -> Iterator[dict[str, Any] | Fault]:
    reader = csv.DictReader(stream, delimiter=delimiter)
    if not set(_PROMPTS) & set(reader.fieldnames or ()):
        raise BatchError(f"a table of requests needs a column with the prompt: {', '.join(_PROMPTS)}")
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # a cell of more than 131,072 characters, as after a quote that never ends
            yield Fault(f"line {reader.reader.line_num} is not CSV: {error}")
            continue
        if any(row.get(None) or ()):  # surplus cells; a comma at the end is none
            yield Fault(f"line {reader.line_num} has more cells than the header: put texts with commas in quotes")
            continue
        row = _named(row)
        own = {key: row[key] for key in ("prompt", "id", "seed") if row.get(key)}
        rest = {key: value for key, value in row.items() if key and value and key not in ("prompt", "id", "seed")}
        try:
            yield {**own, "config": {key: parse_yaml(value) for key, value in rest.items()}}
        except DocumentError as error:
            yield Fault(f"line {reader.line_num}: a value is not valid YAML: {error}")


def _parquet(stream: BinaryIO) -> Iterator[dict[str, Any] | Fault]:
    import pyarrow.parquet

    # pyarrow's errors are ValueErrors.
    file = pyarrow.parquet.ParquetFile(stream)
    names = file.schema_arrow.names
    if "prompt" not in names:
        raise BatchError('a Parquet file of requests needs a column "prompt"')
    wanted = [name for name in ("prompt", "seed", "id", "config") if name in names]
    for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
        for row in _listed(batch):
            if isinstance(row, Fault):
                yield row
                continue
            config = row.get("config")
            if isinstance(config, dict):
                # A column of structs holds all keys of all rows.
                row["config"] = {key: value for key, value in config.items() if value is not None}
            elif isinstance(config, str):
                try:
                    row["config"] = parse_json(config) if config else {}
                except DocumentError as error:
                    yield Fault(f'"config" is not JSON: {error}')
                    continue
            yield row


def _listed(batch: Any) -> Iterator[dict[str, Any] | Fault]:
    """Rows of a table; of one with text that is not UTF-8 row by row, and that is a fault of its row."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            yield Fault(f"a text is not UTF-8: {error.reason}")
            return
        for number in range(batch.num_rows):
            yield from _listed(batch.slice(number, 1))
