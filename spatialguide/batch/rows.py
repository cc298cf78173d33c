"""What is written of a unit: its images' names, its shard, and a row for each request."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

from spatialguide.batch.painter import Outcome

_TEXTS = ("id", "prompt", "status", "key", "file", "sha256", "error", "description")
_COUNTS = ("steps", "guided_steps", "skipped")


def row(outcome: Outcome, place: str, content: bytes) -> dict[str, Any]:
    """The row of a request. place: the file that holds its image, with this content; empty for what was not drawn."""
    request = outcome.request
    own = {"index": request.index, "id": request.id, "prompt": request.prompt, "seed": request.seed, "file": place}
    own |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest() if place else ""}
    rest = {name: getattr(outcome, name) for name in ("status", "key", "error", "description", "seconds", *_COUNTS)}
    return own | rest


def schema(about: dict[str, str]) -> Any:
    """Of the rows, with what is said about the unit."""
    import pyarrow as pa

    whole = [pa.field(name, pa.int64()) for name in ("index", "seed", "bytes")]
    texts = [pa.field(name, pa.string()) for name in _TEXTS]
    numbers = [pa.field("seconds", pa.float64()), *(pa.field(name, pa.int32()) for name in _COUNTS)]
    return pa.schema([*whole, *texts, *numbers], metadata=about)


def written(table: Any) -> Iterator[tuple[str, int, str]]:
    """Name, size and hash of the files that a unit's rows name."""
    for row in table.select(["file", "bytes", "sha256"]).to_pylist():
        if row["file"]:
            yield row["file"], row["bytes"], row["sha256"]


def image_place(key: str) -> str:
    """Name of an image's file."""
    return f"images/{key[:2]}/{key}.png"


def tar(outcomes: Sequence[Outcome]) -> bytes:
    """A WebDataset shard: the same bytes for the same images."""
    from PIL import Image

    from spatialguide.pictures.png import METADATA_KEY

    buffer = io.BytesIO()
    written = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
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
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
