"""Pictures for people: side-by-side comparisons with detected boxes, and PNGs that carry what made them."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from spatialguide.config import MAX_SIDE
from spatialguide.contracts import Detection
from spatialguide.documents import MAX_CHARACTERS, DocumentError, parse_json
from spatialguide.errors import OutputError
from spatialguide.files import place_of, write_bytes

METADATA_KEY = "spatialguide"
#: A comparison of the largest pictures holds two of them, and their titles.
MAX_PIXELS = 3 * MAX_SIDE**2
#: Small images are shown at about this many pixels a side.
DISPLAY_SIDE = 384
#: Of objects in pictures, in order.
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
_MARGIN, _HEADER = 12, 34


def check_writable(path: Path, suffix: str = ".png") -> None:
    """Raise OutputError unless a file of this kind can be written to the path; leaves nothing behind."""
    if path.suffix.lower() != suffix:
        raise OutputError(f"cannot write '{path}': the name must end in {suffix}")
    place = place_of(path)
    try:
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error} ({path.parent}); choose another place") from error


def save_png(image: Image.Image, path: Path, metadata: dict[str, Any]) -> None:
    """Write a PNG with metadata under the key "spatialguide", whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    check_writable(path)
    try:
        content = png_bytes(image, metadata)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}; choose another place") from error
    write_bytes(path, content)


def png_bytes(image: Image.Image, metadata: dict[str, Any] | None = None) -> bytes:
    """Content of a PNG file, with metadata under the key "spatialguide" if there is any."""
    info = PngInfo()
    if metadata is not None:
        info.add_itxt(METADATA_KEY, json.dumps(metadata, ensure_ascii=False))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise OutputError(
                    f"cannot read '{path}': {image.width} x {image.height} pixels are more than any of spatialguide's"
                )
            yield image
    except OutputError:
        raise
    except Exception as error:  # Pillow's readers have many
        raise OutputError(f"cannot read '{path}': {error}; give a whole PNG that spatialguide wrote") from error


def read_pixels(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A picture's pixels in RGB, and its size.

    Raises:
        OutputError: the file is no whole PNG, or too large to be one of spatialguide's.
    """
    with _opened(path) as image:
        return image.convert("RGB").tobytes(), image.size


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `save_png` wrote.

    Raises:
        OutputError: the file is no PNG of spatialguide's.
    """
    with _opened(path) as image:
        text = image.info.get(METADATA_KEY)
    if text is None:
        raise OutputError(
            f"'{path}' carries no spatialguide metadata: give the PNG that spatialguide wrote; saving or sending it anew can "
            "strip them"
        )
    try:
        if len(text) > MAX_CHARACTERS:
            raise DocumentError(f"they are longer than {MAX_CHARACTERS:,} characters")
        metadata = parse_json(text)
        if not isinstance(metadata, dict):
            raise DocumentError("they are no object")
    except DocumentError as error:
        raise OutputError(
            f"'{path}' carries metadata that is not spatialguide's: {error}; give a PNG that spatialguide wrote"
        ) from error
    return metadata


def enlarged(image: Image.Image) -> tuple[Image.Image, int]:
    """A small image at a whole multiple of its size, near DISPLAY_SIDE, and the multiple."""
    factor = max(1, DISPLAY_SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC), factor


def with_boxes(image: Image.Image, detections: Sequence[Detection]) -> Image.Image:
    """The image enlarged, with labelled boxes."""
    canvas, factor = enlarged(image.convert("RGB"))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=15)
    labels = sorted({d.label for d in detections})
    for detection in detections:
        colour = COLOURS[labels.index(detection.label) % len(COLOURS)]
        x0, y0, x1, y1 = (round(v * factor) for v in detection.box)
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=2)
        text = f"{detection.label} {detection.score:.2f}"
        left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
        x = min(max(0, x0), canvas.width - (right - left) - 6)
        y = y0 - (bottom + 4) if y0 >= bottom + 4 else y0
        draw.rectangle((x, y, x + right - left + 6, y + bottom + 4), fill=colour)
        draw.text((x + 3, y + 1), text, fill="white", font=font)
    return canvas


def side_by_side(prompt: str, panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Panels of one size beside each other, titles above, the prompt on top.

    Args:
        prompt: shown in one line, shortened if it does not fit.
        panels: (title, image).
    """
    width, height = panels[0][1].size
    canvas = Image.new("RGB", (_MARGIN + len(panels) * (width + _MARGIN), 2 * _HEADER + height + _MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    large, small = ImageFont.load_default(size=20), ImageFont.load_default(size=17)
    text = " ".join(prompt.split())
    while draw.textlength(text, font=large) > canvas.width - 2 * _MARGIN:
        text = text[:-2].rstrip() + "…"
    draw.text((_MARGIN, 8), text, fill="black", font=large)
    for number, (title, image) in enumerate(panels):
        x = _MARGIN + number * (width + _MARGIN)
        draw.text((x, _HEADER + 8), title, fill="#444444", font=small)
        canvas.paste(image, (x, 2 * _HEADER))
    return canvas
