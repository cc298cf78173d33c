"""A contact sheet: the first image of the first prompts, a column per method."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from spatialguide.evaluation.runs import Run
from spatialguide.evaluation.study import Study
from spatialguide.pictures.png import enlarged

_PROMPTS = 12
_SIDE, _GAP, _TITLE = 192, 4, 26
#: Pictures in a row of the sheet.
_ACROSS = 8


def contact_sheet(study: Study, run: Run) -> Image.Image:
    """Methods beside each other under the prompt, the plain model first."""
    shown, methods = min(_PROMPTS, len(study.prompts)), list(study.methods)
    block = (len(methods) * (_SIDE + _GAP) + 16, _TITLE + _SIDE + 8)
    columns = max(1, min(_ACROSS // len(methods), shown))
    canvas = Image.new("RGB", (columns * block[0], -(-shown // columns) * block[1]), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for number in range(shown):
        x, y = number % columns * block[0], number // columns * block[1]
        draw.text((x + 4, y + 4), study.prompts[number], fill="black", font=font)
        for place, method in enumerate(methods):
            with Image.open(run.picture(study.keys(number, method)[0])) as picture:
                large = enlarged(picture.convert("RGB"))[0].resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            canvas.paste(large, (x + place * (_SIDE + _GAP), y + _TITLE))
    return canvas
