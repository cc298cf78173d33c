"""Benchmarks: the methods of a study on the same prompts and seeds, in a run that survives a kill."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from spatialguide.contracts import Benchmark, Case, Detector
from spatialguide.errors import EvaluationError, InvalidPluginError
from spatialguide.evaluation.detection import make_detector
from spatialguide.evaluation.fidelity import FeatureChoice, load_features
from spatialguide.evaluation.memory import PeakMemory
from spatialguide.evaluation.report import Report, check_installed, read_report, write_report
from spatialguide.evaluation.runs import Run
from spatialguide.evaluation.sheet import contact_sheet
from spatialguide.evaluation.strict import judge
from spatialguide.evaluation.study import BASELINE, Method, Study
from spatialguide.files import write_bytes
from spatialguide.guide import SpatialGuide
from spatialguide.pictures.png import check_writable, png_bytes
from spatialguide.scenes.scene import Scene

#: Lines of progress where there is no terminal to draw a bar on.
_LOG_LINES = 20


@dataclass(frozen=True)
class Task:
    """What to draw: a benchmark's prompts.

    Attributes:
        benchmark: name of the benchmark plugin; options: its keyword arguments.
        prompts: how many at most.
        images: per prompt; image i of prompt p starts from the same noise, whatever the method.
        batch: prompts per call.
    """

    benchmark: str
    options: Mapping[str, Any] | None = None
    prompts: int = 100
    images: int = 4
    batch: int = 4
    seed: int = 0


def run_benchmark(
    methods: Mapping[str, Method],
    task: Task,
    *,
    folder: Path | None = None,
    features: FeatureChoice | None = None,
    sheet: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Generate, score and report.

    Args:
        methods: from `spatialguide.evaluation.study`.
        folder: keeps the run and its report; started again with the same settings it goes on where it was. A temporary one by
            default.
        features: for fidelity; the backend's own by default.
        sheet: write the plain model's images beside the other methods', for looking at.

    Raises:
        EvaluationError: the benchmark has no prompts, or the folder holds a run of something else.
    """
    check_installed()
    if sheet is not None:
        check_writable(sheet)
    guide = SpatialGuide(methods[BASELINE].config)
    benchmark: Benchmark = guide.registry.make("benchmarks", task.benchmark, task.options or {})
    cases = guide.registry.call(
        "benchmarks", task.benchmark, lambda: benchmark.cases(guide.backend.vocabulary, task.prompts, task.seed)
    )
    if not cases:
        raise EvaluationError(
            f"benchmark '{task.benchmark}' has no prompts for these options: change --option, or ask for more prompts"
        )
    study = Study(
        benchmark=task.benchmark,
        options=dict(task.options or {}),
        prompts=tuple(case.prompt for case in cases),
        images=task.images,
        batch=task.batch,
        seed=task.seed,
        methods=dict(methods),
        twins=benchmark.twins,
        rule=hashlib.sha256(repr([(case.labels, case.data) for case in cases]).encode()).hexdigest()[:20],
    )
    # What can be wrong is found out before the first image, not after the last.
    extractor = load_features(guide.registry, study.backend, features or FeatureChoice())
    detector = make_detector(guide.registry, guide.config.detector, guide.config.detector_options)
    scenes = [guide.parse(case.prompt) for case in cases]
    with _kept(folder) as place:
        run = Run(place, study.model_dump(mode="json"))
        with run.writing():
            _Drawing(guide, benchmark, cases, scenes, study, run, detector).draw(console)
        report = read_report(place, extractor)
        if folder is not None:
            write_report(report, place)
        if sheet is not None:
            write_bytes(sheet, png_bytes(contact_sheet(study, run)))
        return report


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@dataclass(frozen=True)
class _Drawing:
    """Draws and scores what a run lacks.

    Batches are the same at every start, so that a run taken up again gives the same pixels as one that was left alone.
    """

    guide: SpatialGuide
    benchmark: Benchmark
    cases: Sequence[Case]
    scenes: Sequence[Scene]
    study: Study
    run: Run
    detector: Detector

    def draw(self, console: Console | None) -> None:
        total, batch = len(self.cases), self.study.batch
        parts = [range(start, min(start + batch, total)) for start in range(0, total, batch)]
        batches = [
            (part, method, [key for number in part for key in self.study.keys(number, method)])
            for part in parts
            for method in self.study.methods
        ]
        todo = [batch for batch in batches if not self.run.has(batch[2])]
        images = sum(len(keys) for *_, keys in batches)
        logged = 0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            # What an earlier start has drawn says nothing of the time that is left.
            shown = progress.add_task("images", total=images, completed=images - sum(len(keys) for *_, keys in todo))
            for number, (part, method, keys) in enumerate(todo):
                if not self.run.has(keys):
                    self._batch(part, method, keys)
                progress.advance(shown, len(keys))
                if console is not None and not console.is_terminal and number * _LOG_LINES // len(todo) > logged:
                    logged = number * _LOG_LINES // len(todo)
                    left = progress.tasks[0].time_remaining
                    console.print(
                        f"{progress.tasks[0].completed:.0f} of {images} images, {left or 0:.0f} s left", highlight=False
                    )

    def _batch(self, part: range, name: str, keys: Sequence[str]) -> None:
        study, method = self.study, self.study.methods[name]
        guide = self._guide(method)
        firsts = (study.first_seed(number) for number in part)
        seeds = [first + image for first in firsts for image in range(study.images)]
        with PeakMemory(guide.pipeline.device) as memory:
            began = time.perf_counter()
            result = guide(
                [self.cases[number].prompt for number in part],
                scene=[self.scenes[number] for number in part],
                images_per_prompt=self.study.images,
                # Of one number the candidates of `guidance.best_of` are counted apart.
                seed=seeds if study.twins else seeds[0],
                guided=method.guided,
            )
            seconds = time.perf_counter() - began
        each = {
            "method": name,
            "seconds": seconds / len(keys),
            "memory": None if memory.used is None else memory.used / len(keys),
        }
        for place, number in enumerate(part):
            images = slice(place * self.study.images, (place + 1) * self.study.images)
            scored = self._scored(number, result.images[images])
            made = (about["seed"] for about in result.metadata[images])
            for key, image, seed, row in zip(keys[images], result.images[images], made, scored, strict=True):
                self.run.add(key, image, {**each, "seed": seed, **row})

    def _verdict(self, returned: Any) -> tuple[bool, float]:
        """What the benchmark's rule returned, checked."""
        if isinstance(returned, tuple) and len(returned) == 2:
            detected, score = returned
            if isinstance(score, (int, float)) and 0 <= score <= 1:
                return bool(detected), float(score)
        name = self.study.benchmark
        source = self.guide.registry.origin("benchmarks", name).distribution
        raise InvalidPluginError(
            f"benchmark '{name}' of distribution '{source}': score() must return (detected, score in [0, 1]), not {returned!r}"
        )

    def _guide(self, method: Method) -> SpatialGuide:
        _ = self.guide.pipeline  # loaded here, so that no image's time holds the loading
        return self.guide.with_config(method.config)

    def _scored(self, number: int, images: Sequence[Image.Image]) -> Iterator[dict[str, Any]]:
        case, scene, registry = self.cases[number], self.scenes[number], self.guide.registry
        asked = partial(self.benchmark.labels, case, scene)
        found = self.detector(images, registry.call("benchmarks", self.study.benchmark, asked))
        for image, boxes in zip(images, found, strict=True):
            rule = partial(self.benchmark.score, case, scene, boxes, image.size, registry.relations())
            detected, score = self._verdict(registry.call("benchmarks", self.study.benchmark, rule))
            strictly = {}
            if self.benchmark.boxes:
                strictly = asdict(judge(scene, boxes, registry.relations(), image.size, self.benchmark.label))
            yield {
                "prompt": case.prompt,
                "relations": [edge.predicate for edge in scene.relations],
                "detected": detected,
                "score": score,
                **strictly,
                "detections": [asdict(box) for box in boxes],
            }
