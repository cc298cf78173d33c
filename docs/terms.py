"""Draws docs/images/terms.png: what each loss term does alone, on the same noise.

python docs/terms.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from spatialguide import SpatialGuide

PROMPT = "a cat to the left of a dog, above a bus"
SEEDS = 8
SIDE, GAP, TITLE, HEAD = 96, 4, 150, 28
#: The same strength at every step of the window, whatever the term.
GUIDANCE = {"settle": False, "patience": None}


def main() -> None:
    """One row per term, one column per seed."""
    names = ["unguided", *sorted(SpatialGuide().registry.names("losses"))]
    canvas = Image.new("RGB", (TITLE + SEEDS * (SIDE + GAP), HEAD + len(names) * (SIDE + GAP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    draw.text((4, 6), PROMPT, fill="black", font=font)
    plain = SpatialGuide()
    for row, name in enumerate(names):
        guided = name != "unguided"
        guide = plain
        if guided:
            guide = plain.with_config(SpatialGuide(losses={name: {}}, guidance=GUIDANCE).config)
        images = guide(PROMPT, images_per_prompt=SEEDS, guided=guided).images
        y = HEAD + row * (SIDE + GAP)
        draw.text((4, y + SIDE // 2 - 8), name, fill="black", font=font)
        for column, image in enumerate(images):
            canvas.paste(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (TITLE + column * (SIDE + GAP), y))
    canvas.save(Path(__file__).parent / "images" / "terms.png")


if __name__ == "__main__":
    main()
