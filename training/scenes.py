"""Synthetic scenes: emoji of COCO objects pasted on simple backgrounds, with captions.

Every scene is a 64x64 RGB picture of one to four different objects that do not overlap. Sprites sit on the
4-pixel grid of the VAE's latents. Captions name the objects; the relation phrase in a caption is drawn without
looking at the picture, so that a model trained on these scenes places objects no better than chance.

No scene shows an animal together with food (`HELD_OUT`): such prompts ask the model for what it never saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

IMAGE_SIZE = 64
GRID = 4
EMOJI_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")

# COCO name -> (emoji, adjective that is true of the emoji)
OBJECTS: dict[str, tuple[str, str]] = {
    "cat": ("🐱", "yellow"),
    "dog": ("🐶", "brown"),
    "elephant": ("🐘", "gray"),
    "bird": ("🐦", "blue"),
    "cow": ("🐮", "white"),
    "giraffe": ("🦒", "tall"),
    "car": ("🚗", "red"),
    "bus": ("🚌", "blue"),
    "airplane": ("✈️", "small"),
    "boat": ("⛵", "white"),
    "apple": ("🍎", "red"),
    "banana": ("🍌", "yellow"),
    "carrot": ("🥕", "orange"),
    "pizza": ("🍕", "hot"),
    "donut": ("🍩", "chocolate"),
    "broccoli": ("🥦", "green"),
    "clock": ("🕒", "round"),
    "umbrella": ("☂️", "purple"),
    "book": ("📕", "red"),
    "chair": ("🪑", "wooden"),
    "traffic light": ("🚦", "tall"),
    "stop sign": ("🛑", "red"),
    "sports ball": ("⚽", "white"),
    "teddy bear": ("🧸", "brown"),
}
NAMES = tuple(OBJECTS)

ANIMALS = ("cat", "dog", "elephant", "bird", "cow", "giraffe")
FOOD = ("apple", "banana", "carrot", "pizza", "donut", "broccoli")
HELD_OUT: frozenset[frozenset[str]] = frozenset(frozenset(pair) for pair in product(ANIMALS, FOOD))

RELATION_PHRASES = (
    "to the left of",
    "to the right of",
    "above",
    "below",
    "on the left of",
    "on the right of",
    "left of",
    "right of",
    "next to",
    "near",
    "beside",
    "under",
    "over",
    "on top of",
    "in front of",
    "behind",
)
SIZES_BY_COUNT = {1: (24, 28), 2: (24, 28), 3: (20, 24), 4: (20,)}
COUNT_PROBABILITIES = (0.06, 0.46, 0.28, 0.20)


@dataclass(frozen=True)
class SyntheticObject:
    """One pasted object; box is (x0, y0, x1, y1) in pixels, tight around the visible sprite."""

    name: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class SyntheticScene:
    """A picture (uint8, 64x64x3), its objects and a caption."""

    image: np.ndarray
    objects: tuple[SyntheticObject, ...]
    caption: str


@cache
def load_sprites(font_path: Path = EMOJI_FONT) -> dict[tuple[str, int], np.ndarray]:
    """Render every object at every size as float32 RGBA in [0, 1], premultiplied by alpha."""
    font = ImageFont.truetype(str(font_path), size=109)
    sprites = {}
    for name, (emoji, _) in OBJECTS.items():
        canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text((10, 10), emoji, font=font, embedded_color=True)
        glyph = canvas.crop(canvas.getbbox())
        side = max(glyph.size)
        square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
        for size in {size for sizes in SIZES_BY_COUNT.values() for size in sizes}:
            pixels = np.asarray(square, dtype=np.float32) / 255
            pixels = np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], axis=-1)
            # Resize premultiplied channels one by one: Pillow would otherwise bleed the transparent black.
            small = [
                np.asarray(Image.fromarray(pixels[..., c], mode="F").resize((size, size), Image.Resampling.LANCZOS))
                for c in range(4)
            ]
            sprites[name, size] = np.clip(np.stack(small, axis=-1), 0, 1)
            sprites[name, size].setflags(write=False)  # shared by all callers
    return sprites


def background(rng: np.random.Generator) -> np.ndarray:
    """Plain, graded or softly textured background, float32 in [0, 1]."""
    base = rng.uniform(0.68, 1.0, size=3).astype(np.float32)
    kind = rng.choice(3, p=(0.4, 0.35, 0.25))
    image = np.broadcast_to(base, (IMAGE_SIZE, IMAGE_SIZE, 3)).copy()
    if kind == 1:
        other = rng.uniform(0.68, 1.0, size=3).astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        axis = np.linspace(-0.5, 0.5, IMAGE_SIZE, dtype=np.float32)
        ramp = np.clip(0.5 + np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None], 0, 1)[..., None]
        image = image * (1 - ramp) + other * ramp
    elif kind == 2:
        coarse = rng.normal(0, 0.05, size=(5, 5)).astype(np.float32)
        texture = np.asarray(Image.fromarray(coarse).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
        image = np.clip(image + texture[..., None], 0, 1)
    return image


def _place(rng: np.random.Generator, sizes: list[int]) -> list[tuple[int, int]]:
    """Top-left corners on the grid such that no two squares overlap, by rejection."""
    while True:
        corners: list[tuple[int, int]] = []
        for size in sizes:
            for _ in range(30):
                x, y = (int(v) * GRID for v in rng.integers(0, (IMAGE_SIZE - size) // GRID + 1, size=2))
                if all(
                    x + size <= ox or ox + other <= x or y + size <= oy or oy + other <= y
                    for (ox, oy), other in zip(corners, sizes, strict=False)
                ):
                    corners.append((x, y))
                    break
            else:
                break
        if len(corners) == len(sizes):
            return corners


def _noun(rng: np.random.Generator, name: str) -> str:
    phrase = f"{OBJECTS[name][1]} {name}" if rng.random() < 0.12 else name
    style = rng.random()
    if style < 0.08:
        return phrase
    if style < 0.14:
        return f"the {phrase}"
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def caption(rng: np.random.Generator, names: list[str]) -> str:
    """Name the objects in random order; relation phrases are chosen blindly."""
    nouns = [_noun(rng, names[i]) for i in rng.permutation(len(names))]
    relations = [str(rng.choice(RELATION_PHRASES)) for _ in nouns]
    style = rng.random()
    if len(nouns) == 1:
        text = nouns[0]
    elif style < 0.25:
        text = " and ".join(nouns) if style < 0.15 else ", ".join(nouns)
    else:
        text = nouns[0]
        for i, noun in enumerate(nouns[1:]):
            joint = "" if i == 0 else str(rng.choice([" and", ",", ""]))
            text = f"{text}{joint} {relations[i]} {noun}"
    prefix = str(rng.choice(["", "a photo of ", "a picture of "], p=(0.8, 0.12, 0.08)))
    return prefix + text


def _choose(rng: np.random.Generator, count: int) -> list[str]:
    """Different names, no two of which are held out as a pair; by rejection, so that all other sets are equally likely."""
    while True:
        names = [NAMES[i] for i in rng.choice(len(NAMES), size=count, replace=False)]
        if not any(frozenset(pair) in HELD_OUT for pair in combinations(names, 2)):
            return names


def make_scene(rng: np.random.Generator, sprites: dict[tuple[str, int], np.ndarray]) -> SyntheticScene:
    """Draw one scene; everything random comes from rng."""
    count = int(rng.choice(len(COUNT_PROBABILITIES), p=COUNT_PROBABILITIES)) + 1
    names = _choose(rng, count)
    sizes = [int(rng.choice(SIZES_BY_COUNT[count])) for _ in names]
    image = background(rng)
    objects = []
    for name, size, (x, y) in zip(names, sizes, _place(rng, sizes), strict=True):
        sprite = sprites[name, size]
        patch = image[y : y + size, x : x + size]
        image[y : y + size, x : x + size] = patch * (1 - sprite[..., 3:]) + sprite[..., :3]
        rows, columns = np.nonzero(sprite[..., 3] > 0.2)
        box = (x + int(columns.min()), y + int(rows.min()), x + int(columns.max()) + 1, y + int(rows.max()) + 1)
        objects.append(SyntheticObject(name, box))
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return SyntheticScene(pixels, tuple(objects), caption(rng, names))
