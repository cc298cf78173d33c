"""The VISOR benchmark on a backend's own vocabulary: unguided against guided, same prompts, same seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from spatialguide.config import GuideConfig
from spatialguide.errors import ConfigError
from spatialguide.evaluation.detection import make_detector
from spatialguide.evaluation.prompts import sample_prompts
from spatialguide.evaluation.visor import Outcome, VisorScores, score_image, visor_scores
from spatialguide.guide import SpatialGuide
from spatialguide.images import check_writable, enlarged

SHEET_PROMPTS = 12


@dataclass(frozen=True)
class Report:
    """Scores of both methods and seconds per image."""

    prompts: int
    images: int
    unguided: VisorScores
    guided: VisorScores
    seconds: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy."""
        return asdict(self)

    def table(self) -> Table:
        """For the terminal."""
        title = f"VISOR, {self.prompts} prompts x {self.images} images (percent)"
        table = Table(title=title, title_justify="left")
        for column in ("method", "OA", "uncond", "cond", *(str(n + 1) for n in range(self.images)), "s/image"):
            table.add_column(column, justify="left" if column == "method" else "right")
        rows = (("unguided", self.unguided), ("guided", self.guided))
        for (name, scores), seconds in zip(rows, self.seconds, strict=True):
            figures = (scores.oa, scores.uncond, scores.cond, *scores.at_least)
            table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{seconds:.2f}")
        return table


def run_visor(
    config: GuideConfig,
    *,
    prompts: int = 100,
    images: int = 4,
    batch: int = 4,
    seed: int = 0,
    sheet: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Generate and score.

    Args:
        prompts: how many; spread evenly over relations.
        images: per prompt; image i of prompt p starts from the same noise, guided or not.
        batch: prompts per call.
        sheet: write unguided images beside guided ones, for looking at.

    Raises:
        ConfigError: the backend has no vocabulary.
    """
    if sheet is not None:
        check_writable(sheet)
    guide = SpatialGuide(config)
    names = guide.backend.vocabulary
    if names is None:
        raise ConfigError(f"backend '{config.backend}' has no list of object names to make prompts from")
    texts = sample_prompts(names, prompts, seed)
    scenes = [guide.parse(text) for text in texts]
    detector = make_detector(guide.registry, config.detector)
    guide.pipeline.set_progress_bar_config(disable=True)  # loaded here, so that no image's time holds the loading
    relations = guide.registry.relations()
    outcomes: dict[bool, list[Outcome]] = {False: [], True: []}
    seconds = {False: 0.0, True: 0.0}
    kept: dict[bool, list[Image.Image]] = {False: [], True: []}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("images", total=2 * len(texts) * images)
        for start in range(0, len(texts), batch):
            part = slice(start, start + batch)
            for guided in (False, True):
                began = time.perf_counter()
                result = guide(
                    texts[part], scene=scenes[part], images_per_prompt=images, seed=seed + start * images, guided=guided
                )
                seconds[guided] += time.perf_counter() - began
                for number, image_boxes in enumerate(detector(result.images, names)):
                    prompt = start + number // images
                    outcomes[guided].append(score_image(prompt, scenes[prompt], image_boxes, relations))
                kept[guided] += result.images[::images]
                progress.advance(task, len(result.images))
    if sheet is not None:
        _sheet(texts, kept).save(sheet)
    total = len(texts) * images
    return Report(
        len(texts),
        images,
        visor_scores(outcomes[False]),
        visor_scores(outcomes[True]),
        (seconds[False] / total, seconds[True] / total),
    )


def _sheet(texts: Sequence[str], kept: dict[bool, list[Image.Image]]) -> Image.Image:
    from PIL import ImageDraw, ImageFont

    shown = min(SHEET_PROMPTS, len(texts))
    side = 192
    columns = 4
    rows = -(-shown // columns)
    canvas = Image.new("RGB", (columns * (2 * side + 24), rows * (side + 34)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for number in range(shown):
        x, y = number % columns * (2 * side + 24), number // columns * (side + 34)
        draw.text((x + 4, y + 4), texts[number], fill="black", font=font)
        for place, guided in enumerate((False, True)):
            picture = enlarged(kept[guided][number])[0].resize((side, side), Image.Resampling.BICUBIC)
            canvas.paste(picture, (x + place * (side + 4), y + 26))
    return canvas
