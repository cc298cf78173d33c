"""Pictures of what guidance saw: attention maps over the image, as a sheet or an animation, and curves of the trace.

All take a trace that was watched (`SpatialGuide(...)(prompt, watch=True)`, or `attach(..., watch=True)`), whose images hold the
objects' maps at every step. Pictures are Pillow images, curves a matplotlib figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from spatialguide.errors import PictureError
from spatialguide.guidance.trace import ImageStep, ObjectMap, Trace
from spatialguide.pictures.png import COLOURS, enlarged
from spatialguide.scenes.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE, _GAP, _LINE = 160, 6, 22
#: How much of the picture's own colour is left under the maps, and how strong a map's colour is at its peak.
_LEFT, _STRONGEST = 0.45, 0.85


def overlay(image: Image.Image, maps: Sequence[ObjectMap], colours: Sequence[str] = COLOURS) -> Image.Image:
    """Object maps over an image, each in its own colour, as strong as the map is against its own peak.

    Args:
        image: of any size.
        maps: one per object, any grid; they are scaled to the image.
        colours: one per object, as Pillow knows them; used again from the start where there are too few.

    Returns:
        RGB, of the image's size.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    grey = pixels.mean(axis=-1, keepdims=True)
    shown = _LEFT * pixels + (1 - _LEFT) * (0.5 * grey + 127)
    for number, values in enumerate(maps):
        cells = np.asarray(values, dtype=np.float32)
        cells = cells / max(float(cells.max()), 1e-8)
        grid = Image.fromarray(cells, mode="F").resize(image.size, Image.Resampling.BICUBIC)
        share = _STRONGEST * np.clip(np.asarray(grid), 0, 1)[..., None] ** 2
        colour = np.array(ImageColor.getrgb(colours[number % len(colours)])[:3], dtype=np.float32)
        shown = shown * (1 - share) + colour * share
    return Image.fromarray(shown.round().astype(np.uint8))


def attention_sheet(
    image: Image.Image, trace: Trace, scene: Scene, number: int = 0, columns: int = 7, steps: int | None = None
) -> Image.Image:
    """A contact sheet: a row for each object, a column for each step, and the image itself at the end. Long ones go on below.

    Args:
        image: the finished image.
        trace: watched.
        scene: of the image.
        number: which image of the batch it is.
        columns: at most so many beside each other.
        steps: at most so many steps, the first and the last among them; all by default.

    Raises:
        PictureError: the trace holds no maps of this image.
    """
    seen = _watched(trace, number)
    chosen = seen if steps is None else [seen[i] for i in np.unique(np.linspace(0, len(seen) - 1, steps).round().astype(int))]
    names = [scene.name(index) for index in range(len(scene.objects))]
    picture = _thumbnail(image)
    cells = []
    for step, shown in chosen:
        rows = [overlay(picture, [values], [colour_of(row)]) for row, values in enumerate(shown.maps)]
        cells.append((f"step {step + 1}", rows))
    cells.append(("image", [picture] * len(names)))
    font = ImageFont.load_default(size=14)
    label = max((round(font.getlength(name)) for name in names), default=0) + 2 * _GAP
    width, height = picture.width + _GAP, picture.height + _GAP
    columns = min(columns, len(cells))
    band = _LINE + len(names) * height
    canvas = Image.new("RGB", (label + columns * width, math.ceil(len(cells) / columns) * band), "white")
    draw = ImageDraw.Draw(canvas)
    for place, (title, rows) in enumerate(cells):
        left, top = label + place % columns * width, place // columns * band
        draw.text((left, top + 3), title, fill="#444444", font=font)
        for row, cell in enumerate(rows):
            canvas.paste(cell, (left, top + _LINE + row * height))
            if place % columns == 0:
                middle = top + _LINE + row * height + picture.height // 2
                draw.text((_GAP, middle), names[row], fill=colour_of(row), font=font, anchor="lm")
    return canvas


def attention_frames(image: Image.Image, trace: Trace, scene: Scene, number: int = 0) -> list[Image.Image]:
    """An animation: a frame for each step, with every object's map and, as a line, the way its centroid has come.

    Args:
        image: the finished image.
        trace: watched.
        scene: of the image.
        number: which image of the batch it is.

    Raises:
        PictureError: the trace holds no maps of this image.
    """
    watched, picture = _watched(trace, number), enlarged(image.convert("RGB"))[0]
    return [_frame(picture, scene, watched[:at]) for at in range(1, len(watched) + 1)]


def attention_frame(image: Image.Image, trace: Trace, scene: Scene, at: int, number: int = 0) -> Image.Image:
    """One frame of `attention_frames`.

    Args:
        at: which of the watched steps, counted from 1; the last one if there are fewer.

    Raises:
        PictureError: as `attention_frames`.
    """
    return _frame(enlarged(image.convert("RGB"))[0], scene, _watched(trace, number)[:at])


def _frame(picture: Image.Image, scene: Scene, watched: Sequence[tuple[int, ImageStep]]) -> Image.Image:
    """The last of these steps over the enlarged picture, with the way there from the first."""
    step, seen = watched[-1]
    names = [scene.name(index) for index in range(len(scene.objects))]
    font = ImageFont.load_default(size=15)
    canvas = Image.new("RGB", (picture.width, picture.height + _LINE), "white")
    canvas.paste(overlay(picture, seen.maps), (0, _LINE))
    draw = ImageDraw.Draw(canvas)
    x = float(_GAP)
    for row, word in enumerate([*names, f"step {step + 1}"]):
        fill = colour_of(row) if row < len(names) else "#444444"
        draw.text((x, 2), word, fill=fill, font=font)
        x += font.getlength(word) + 2 * _GAP
    wide, high = picture.width - 1, picture.height - 1
    for row in range(len(names)):
        path = [(was.centroids[row][0] * wide, _LINE + was.centroids[row][1] * high) for _, was in watched]
        draw.line(path, fill="white", width=5)
        draw.line(path, fill=colour_of(row), width=3)
        (x0, y0) = path[-1]
        draw.ellipse((x0 - 7, y0 - 7, x0 + 7, y0 + 7), fill=colour_of(row), outline="white", width=2)
    return canvas


def save_gif(frames: Sequence[Image.Image], path: str | Path | IO[bytes], milliseconds: int = 250) -> None:
    """Write an endless animation as a GIF; its last frame stays four times as long."""
    first, *others = frames
    lasting = [milliseconds] * len(others) + [4 * milliseconds]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=lasting, loop=0)


def gif_bytes(frames: Sequence[Image.Image]) -> bytes:
    """Content of the file that `save_gif` writes."""
    buffer = BytesIO()
    save_gif(frames, buffer)
    return buffer.getvalue()


def figure_bytes(figure: Figure, dpi: int) -> bytes:
    """Content of a PNG file of a matplotlib figure."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def trace_figure(trace: Trace, image: int = 0, names: Sequence[str] = ()) -> Figure:
    """Loss terms and strength over the steps, and the objects' centroid paths, as a matplotlib figure.

    Args:
        trace: of any generation that was guided or watched.
        image: which image of the batch.
        names: labels of the objects.

    Raises:
        PictureError: matplotlib is missing, or the image was neither guided nor watched.
    """
    rows = trace.seen(image)
    if not rows:
        raise PictureError(
            f"image {image} was neither guided nor watched: there is nothing to plot; "
            "draw it with watch=True, from a prompt in which the parser finds objects"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError('curves need matplotlib: python -m pip install "spatialguide[plot]"') from error

    class Curves(Figure):
        """A figure that notebooks show, whether pyplot was set up there or not."""

        def _repr_png_(self) -> bytes:
            return figure_bytes(self, dpi=80)

    figure = Curves(figsize=(12, 3.8), layout="constrained")
    losses, strength, paths = figure.subplots(1, 3)
    steps = [index + 1 for index, _ in rows]
    # Steps that only steered attention may have no terms.
    for term in dict.fromkeys(term for _, seen in rows for term in seen.terms):
        have = [(index + 1, seen.terms[term]) for index, seen in rows if term in seen.terms]
        losses.plot(*zip(*have, strict=True), marker=".", label=term)
    losses.set(xlabel="sampling step", title="Loss terms")
    if losses.lines:
        losses.legend()
    _plot_strength(strength, steps, [seen for _, seen in rows])
    for number in range(len(rows[0][1].centroids)):
        x, y = zip(*(seen.centroids[number] for _, seen in rows), strict=True)
        label = names[number] if number < len(names) else f"object {number}"
        paths.plot(x, y, marker=".", linewidth=1, label=label, color=colour_of(number))
        paths.plot(x[-1], y[-1], marker="o", markersize=10, color=colour_of(number))
    paths.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", title="Centroids, from first to last", xlabel="x", ylabel="y")
    paths.legend()
    for axes in (losses, strength, paths):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure


def _plot_strength(axes: Axes, steps: Sequence[int], seen: Sequence[ImageStep]) -> None:
    """How strong corrections were, and the bias of attention; of what there was none, nothing."""
    corrections, shares = [each.correction_norm for each in seen], [each.bias or 0.0 for each in seen]
    biased = any(each.bias is not None for each in seen)
    axes.set(xlabel="sampling step", title="Correction, Euclidean norm")
    if biased and not any(corrections):
        axes.set_title("Bias of attention, share of the full one")
        axes.bar(steps, shares, color="#7f7f7f")
        return
    axes.bar(steps, corrections, color="#7f7f7f")
    if biased:
        axes.set_title("Correction, Euclidean norm (bars); bias, share (line)")
        share = axes.twinx()
        share.plot(steps, shares, marker=".", color="#d62728")
        share.set_ylim(0, 1.05)


def row(images: Sequence[Image.Image]) -> Image.Image:
    """Images of one size beside each other, small ones enlarged."""
    large = [enlarged(image.convert("RGB"))[0] for image in images]
    width, height = large[0].size
    canvas = Image.new("RGB", (len(large) * (width + _GAP) - _GAP, height), "white")
    for place, image in enumerate(large):
        canvas.paste(image, (place * (width + _GAP), 0))
    return canvas


def _watched(trace: Trace, number: int) -> list[tuple[int, ImageStep]]:
    found = [(index, seen) for index, seen in trace.seen(number) if seen.maps]
    if not found:
        raise PictureError(
            f"the trace holds no attention maps of image {number}: draw it with watch=True, "
            "from a prompt in which the parser finds objects"
        )
    return found


def _thumbnail(image: Image.Image) -> Image.Image:
    large = enlarged(image.convert("RGB"))[0]
    scale = _SIDE / max(large.size)
    return large.resize((round(large.width * scale), round(large.height * scale)), Image.Resampling.BICUBIC)


def colour_of(number: int) -> str:
    """Of an object's maps and curves, by its number in the scene."""
    return COLOURS[number % len(COLOURS)]
