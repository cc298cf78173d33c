"""Render the icons of `training.things`, in every colour, to one file of pictures: once, on a machine with npm and resvg_py.

npm install @iconify-json/noto @iconify-json/fluent-emoji @iconify-json/fluent-emoji-flat @iconify-json/twemoji
python -m training.glyphs node_modules runs/glyphs.npz
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from training.things import COLOURS, NAMES, SETS, THINGS

#: Pixels; the largest that a thing is drawn.
SIDE = 60
GLYPHS = Path("runs/glyphs.npz")
#: A look is recoloured if the paint covers this share of it.
_ENOUGH = 0.25


def svg(icons: dict[str, Any], name: str) -> str:
    """The picture `name` of one set as a document. Raises KeyError if the set has none."""
    while name in icons.get("aliases", {}):
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {links} viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'


def render(document: str) -> np.ndarray:
    """RGBA (SIDE, SIDE, 4), uint8: cropped to what is visible, centred in a square."""
    from resvg_py import svg_to_bytes

    drawn = Image.open(io.BytesIO(svg_to_bytes(svg_string=document, width=4 * SIDE))).convert("RGBA")
    visible = drawn.getchannel("A").point(lambda alpha: 255 * (alpha > 12))
    glyph = drawn.crop(visible.getbbox())
    side = max(glyph.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    # Premultiplied while it shrinks: the colour of clear pixels must not bleed in.
    return np.asarray(square.convert("RGBa").resize((SIDE, SIDE), Image.Resampling.LANCZOS).convert("RGBA"))


def _ramp(values: np.ndarray, start: float, end: float) -> np.ndarray:
    return np.clip((values - start) / (end - start), 0, 1)


def paint_mask(picture: np.ndarray) -> np.ndarray:
    """Which pixels are the thing's paint, (SIDE, SIDE) in [0, 1]: its commonest hue, or its greys if it has few hues."""
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(picture[..., :3]).convert("HSV"), dtype=np.float64), -1, 0)
    alpha, saturation, value, hue = picture[..., 3] / 255, saturation / 255, value / 255, hue / 255
    vivid = alpha * _ramp(saturation, 0.2, 0.45) * _ramp(value, 0.1, 0.3)
    if vivid.sum() < _ENOUGH * alpha.sum():
        return alpha * _ramp(saturation, 0.4, 0.2)
    counts = np.histogram(hue, bins=36, range=(0, 1), weights=vivid)[0]
    around = counts + np.roll(counts, 1) + np.roll(counts, -1)
    distance = np.abs((hue - (around.argmax() + 0.5) / 36 + 0.5) % 1 - 0.5)
    return vivid * _ramp(distance, 0.14, 0.09)


def recoloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray | None:
    """The picture with its paint in another colour, light and shade kept; None if it has too little paint."""
    mask, alpha = paint_mask(picture), picture[..., 3] / 255
    if mask.sum() < _ENOUGH * alpha.sum():
        return None
    light = picture[..., :3] @ np.array([0.299, 0.587, 0.114])
    relative = light / max(1.0, np.median(light[mask > 0.5]))
    shade = np.clip(relative, 0.35, 1)[..., None]
    shine = 0.6 * _ramp(relative, 1.0, 2.0)[..., None]
    painted = np.array(colour) * shade * (1 - shine) + 255 * shine
    result = picture.copy()
    result[..., :3] = (picture[..., :3] * (1 - mask[..., None]) + painted * mask[..., None]).round()
    return result


def write(modules: Path, path: Annotated[Path, typer.Argument()] = GLYPHS) -> None:
    """Render every look of every thing in every colour that it takes; names what a set lacks.

    The file holds `pictures` (looks, SIDE, SIDE, 4) uint8 and, for each, its `thing`, `set` and `colour` as numbers; -1 is a
    look's own colour.
    """
    icons = {each: json.loads((modules / "@iconify-json" / each / "icons.json").read_text()) for each in SETS}
    looks: list[tuple[int, int, int, np.ndarray]] = []
    for number, thing in enumerate(THINGS):
        for each in thing.looks:
            try:
                picture = render(svg(icons[each], thing.icon))
            except KeyError:
                print(f"{each} has no {thing.icon}")
                continue
            kind = list(SETS).index(each)
            looks.append((number, kind, -1, picture))
            for colour, rgb in enumerate(COLOURS.values() if each in thing.recoloured else ()):
                if (painted := recoloured(picture, rgb)) is not None:
                    looks.append((number, kind, colour, painted))
    path.parent.mkdir(parents=True, exist_ok=True)
    things, kinds, colours, pictures = zip(*looks, strict=True)
    np.savez_compressed(path, pictures=np.stack(pictures), thing=things, set=kinds, colour=colours)
    print(f"{len(looks)} looks of {len(NAMES)} things in {path}")


if __name__ == "__main__":
    typer.run(write)
