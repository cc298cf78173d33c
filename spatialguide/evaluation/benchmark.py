"""Benchmarks: unguided against guided, same prompts, same seeds, in a run that survives a kill."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from spatialguide.config import GuideConfig
from spatialguide.contracts import Benchmark, Case, Detector
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.detection import make_detector
from spatialguide.evaluation.runs import Run
from spatialguide.evaluation.uncertainty import Comparison, compare
from spatialguide.evaluation.visor import VisorScores, aggregate
from spatialguide.guide import SpatialGuide
from spatialguide.images import check_writable, enlarged
from spatialguide.scene import Scene

METHODS = ("unguided", "guided")
SHEET_PROMPTS = 12


@dataclass(frozen=True)
class Report:
    """Scores of both methods, their paired comparison, and seconds per image, of images drawn by this machine in this run."""

    benchmark: str
    prompts: int
    images: int
    unguided: VisorScores
    guided: VisorScores
    comparison: Comparison
    seconds: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy."""
        return asdict(self)

    def table(self) -> Table:
        """For the terminal."""
        title = f"{self.benchmark}, {self.prompts} prompts x {self.images} images (percent)"
        table = Table(title=title, title_justify="left")
        for column in ("method", "OA", "uncond", "cond", *(str(n + 1) for n in range(self.images)), "s/image"):
            table.add_column(column, justify="left" if column == "method" else "right")
        for name, scores, seconds in zip(METHODS, (self.unguided, self.guided), self.seconds, strict=True):
            figures = (scores.oa, scores.uncond, scores.cond, *scores.at_least)
            table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{seconds:.2f}")
            table.add_row("  95% interval", *(f"{i.low:.0f}-{i.high:.0f}" for i in scores.intervals), "", style="dim")
        table.caption = (
            f"guided - unguided, uncond: {self.comparison.difference:+.1f} ({self.comparison.interval}), "
            f"p = {self.comparison.p_value:.4f} (paired, over prompts)"
        )
        table.caption_justify = "left"
        return table


def run_benchmark(
    config: GuideConfig,
    name: str = "visor",
    *,
    options: Mapping[str, Any] | None = None,
    prompts: int = 100,
    images: int = 4,
    batch: int = 4,
    seed: int = 0,
    folder: Path | None = None,
    sheet: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Generate and score.

    Args:
        name: of the benchmark plugin; options: its keyword arguments.
        prompts: how many at most.
        images: per prompt; image i of prompt p starts from the same noise, guided or not.
        batch: prompts per call.
        folder: keeps the run; started again with the same settings it goes on where it was. A temporary one by default.
        sheet: write unguided images beside guided ones, for looking at.

    Raises:
        EvaluationError: the benchmark has no prompts, or the folder holds a run of something else.
    """
    if sheet is not None:
        check_writable(sheet)
    guide = SpatialGuide(config)
    factory = guide.registry.get("benchmarks", name)
    benchmark: Benchmark = guide.registry.call("benchmarks", name, lambda: factory(**(options or {})))
    cases = guide.registry.call("benchmarks", name, lambda: benchmark.cases(guide.backend.vocabulary, prompts, seed))
    if not cases:
        raise EvaluationError(f"benchmark '{name}' has no prompts for these options")
    scenes = [guide.parse(case.prompt) for case in cases]
    manifest = {
        "spatialguide": version("spatialguide"),
        "benchmark": name,
        "options": dict(options or {}),
        "prompts": [case.prompt for case in cases],
        "images": images,
        "batch": batch,
        "seed": seed,
        "config": config.model_dump(mode="json"),
    }
    with _kept(folder) as place:
        run = Run(place, manifest)
        _Drawing(guide, name, benchmark, cases, scenes, run, images, seed).draw(batch, console)
        if sheet is not None:
            _sheet([case.prompt for case in cases], _first_pictures(run, cases, images, seed)).save(sheet)
        return _report(name, run, cases, images, seed)


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


def _keys(run: Run, case: Case, number: int, images: int, seed: int, method: str) -> list[str]:
    """Keys of one prompt's images; image i of prompt p has the seed that follows from both."""
    return [run.key(case.prompt, seed + number * images + i, method) for i in range(images)]


@dataclass(frozen=True)
class _Drawing:
    """Draws and scores what a run lacks.

    Batches are the same at every start, so that a run taken up again gives the same pixels as one that was left alone.
    """

    guide: SpatialGuide
    name: str
    benchmark: Benchmark
    cases: Sequence[Case]
    scenes: Sequence[Scene]
    run: Run
    images: int
    seed: int

    def draw(self, batch: int, console: Console | None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("images", total=len(METHODS) * len(self.cases) * self.images)
            for start in range(0, len(self.cases), batch):
                part = range(start, min(start + batch, len(self.cases)))
                for method in METHODS:
                    self._batch(part, method)
                    progress.advance(task, len(part) * self.images)

    def _batch(self, part: range, method: str) -> None:
        keys = [key for n in part for key in _keys(self.run, self.cases[n], n, self.images, self.seed, method)]
        if self.run.has(keys):
            return
        _ = self.guide.pipeline  # loaded here, so that no image's time holds the loading
        first = self.seed + part.start * self.images
        began = time.perf_counter()
        result = self.guide(
            [self.cases[n].prompt for n in part],
            scene=[self.scenes[n] for n in part],
            images_per_prompt=self.images,
            seed=first,
            guided=method == "guided",
        )
        seconds = (time.perf_counter() - began) / len(keys)
        for place, (key, image) in enumerate(zip(keys, result.images, strict=True)):
            row = {"method": method, "seed": first + place, "seconds": seconds}
            self.run.add(key, image, {**row, **self._scored(part.start + place // self.images, image)})

    def _scored(self, number: int, image: Image.Image) -> dict[str, Any]:
        case, scene = self.cases[number], self.scenes[number]
        relations = self.guide.registry.relations()
        (found,) = self.detector([image], self.benchmark.labels(case, scene))
        detected, score = self.guide.registry.call(
            "benchmarks", self.name, lambda: self.benchmark.score(case, scene, found, image.size, relations)
        )
        boxes = [asdict(detection) for detection in found]
        return {"prompt": case.prompt, "detected": bool(detected), "score": float(score), "detections": boxes}

    @cached_property
    def detector(self) -> Detector:
        """The configured detector."""
        return make_detector(self.guide.registry, self.guide.config.detector, self.guide.config.detector_options)


def _report(name: str, run: Run, cases: Sequence[Case], images: int, seed: int) -> Report:
    scores, rates, seconds = [], [], []
    for method in METHODS:
        rows = [[run.row(key) for key in _keys(run, case, n, images, seed, method)] for n, case in enumerate(cases)]
        numbers = np.repeat(np.arange(len(cases)), images)
        detected = np.array([float(row["detected"]) for group in rows for row in group])
        right = np.array([row["score"] for group in rows for row in group])
        scores.append(aggregate(numbers, detected, right, images))
        rates.append(_rates(right, images))
        seconds.append(float(np.mean([row["seconds"] for group in rows for row in group])))
    unguided, guided = scores
    before, after = rates
    return Report(name, len(cases), images, unguided, guided, compare(before, after), (seconds[0], seconds[1]))


def _rates(right: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    """Percentage of right images per prompt."""
    rates: NDArray[np.float64] = 100 * right.reshape(-1, images).mean(axis=1)
    return rates


def _first_pictures(run: Run, cases: Sequence[Case], images: int, seed: int) -> dict[bool, list[Image.Image]]:
    """The first image of the first prompts, unguided and guided."""
    shown = list(enumerate(cases))[:SHEET_PROMPTS]
    kept: dict[bool, list[Image.Image]] = {False: [], True: []}
    for guided, method in enumerate(METHODS):
        for number, case in shown:
            with Image.open(run.picture(_keys(run, case, number, images, seed, method)[0])) as picture:
                kept[bool(guided)].append(picture.convert("RGB"))
    return kept


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
