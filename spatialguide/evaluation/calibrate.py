"""Calibration: the layers, method, window and strength that suit a model, found by drawing with it.

1. Plain images are watched on all attention layers. A layer is worth what its maps' centroids say of where the detector finds
   the objects: the correlation of the two, mean of both axes.
2. Successive halving (Jamieson & Talwalkar, arXiv 1502.07943): all candidates draw a few images from the same seeds; the better
   half goes on to twice as many, until one is left.
3. That one and the configuration that calibration began with draw images from other seeds; the latter is kept unless beaten.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, takewhile
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from spatialguide.config import GuideConfig, patched
from spatialguide.contracts import Detector
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.candidates import CONFIGURED, candidates
from spatialguide.evaluation.layer_ranking import RankedLayer, Watch, layer_sets, rank_layers
from spatialguide.evaluation.runs import Run
from spatialguide.evaluation.sheet import contact_sheet
from spatialguide.evaluation.strict import judge
from spatialguide.evaluation.study import BASELINE, Method, Study
from spatialguide.evaluation.uncertainty import compare
from spatialguide.evaluation.visor import relation_holds
from spatialguide.files import write_bytes
from spatialguide.guidance.denoiser import denoiser_of, no_gradients, plain
from spatialguide.guidance.layers import steered_layers
from spatialguide.guidance.losses import Term
from spatialguide.guidance.ranking import satisfaction
from spatialguide.guidance.schedule import RANKED
from spatialguide.guidance.statistics import LayerMaps, object_statistics
from spatialguide.guide import SpatialGuide
from spatialguide.pictures.png import png_bytes
from spatialguide.scenes.scene import Scene

#: Images of each candidate in the first round; candidates without a budget, and the choice with one.
FIRST, USUAL, SIZES = 4, 32, range(4, 65)
#: Least p at which what was found is no better than chance: on the bundled model a gain of 12.5 points on 24 images, p = 0.25,
#: was a loss of 8.3 on 48 others.
CHANCE = 0.1


@dataclass(frozen=True)
class Choice:
    """A candidate. images: drawn; score: their mean; plain: of the plain model's from the same seeds; seconds: an image."""

    name: str
    images: int
    score: float
    plain: float
    seconds: float


@dataclass
class Calibration:
    """What was found. choices: those that came farthest first. check: scores on other seeds; p: of found against configured.

    by_maps: scores are how well the maps show the scene, at most 1; else shares of images with all right. stopped: what the
    budget left out.
    """

    config: GuideConfig
    found: str
    layers: list[RankedLayer]
    choices: list[Choice]
    by_maps: bool
    check: dict[str, float] = field(default_factory=dict)
    checked: int = 0
    p: float | None = None
    stopped: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy."""
        return {**asdict(self), "config": self.config.model_dump(mode="json", exclude_unset=True)}


@dataclass
class Calibrator:
    """Draws and chooses. What is drawn is kept in the run, so that a second start goes on where the first ended.

    Args:
        prompts: each with a relation. detector: None to judge by the attention maps alone.
        count: of candidates; by default as the budget allows. budget: seconds for this start.
    """

    guide: SpatialGuide
    run: Run
    prompts: Sequence[str]
    detector: Detector | None
    seed: int = 0
    batch: int = 4
    count: int | None = None
    budget: float | None = None
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._scenes = [self.guide.parse(prompt) for prompt in self.prompts]
        if not self.prompts or not all(scene.relations for scene in self._scenes):
            raise EvaluationError("calibrating takes prompts that say where things are, such as 'a cat above a dog'")
        self._stopped: list[str] = []

    def _study_of(self, methods: Mapping[str, Method], seed: int, images: int | None = None) -> Study:
        """One image of each prompt, image n from seed + n, whatever the method."""
        texts = tuple(self.prompts[:images])
        return Study(benchmark="calibrate", prompts=texts, images=1, batch=1, seed=seed, methods=dict(methods))

    def calibrate(self) -> Calibration:
        """All of it.

        Raises:
            EvaluationError: the budget does not suffice for a first round.
        """
        self.say(f"watching all layers: {len(self.prompts)} plain images")
        config = self.guide.config
        self._study = self._study_of({BASELINE: Method(config=config, guided=False)}, self.seed)
        watched = self._watched()
        self._plain_seconds = float(np.mean([row["seconds"] for row in watched]))
        layers = self._ranked(watched)
        sets: dict[str, Any] = layer_sets(layers)
        if self.detector is None:
            # Maps of different layers are no fair measure of each other: all are measured on the same.
            sets = {"best": sets["best"]}
            config = patched(config, {"guidance.layers": sets["best"]})
            self._plain = [row["shown"][layers[0].name] for row in watched]
        else:
            sets["usual"] = config.guidance.layers
            self._plain = [row["score"] for row in watched]
        bias = "boxes" in config.steerings
        gradients = no_gradients(plain(denoiser_of(self.guide.pipeline))) is None
        methods = [*["gradient"] * gradients, *["bias"] * bias, *["both"] * (gradients and bias)]
        chosen = dict(islice(candidates(config, sets, methods, self.seed).items(), self._size()))
        self._study = self._study_of({name: Method(config=each) for name, each in chosen.items()}, self.seed)
        choices = self._halved()
        found = choices[0].name
        result = Calibration(chosen[found], found, layers, choices, self.detector is None, stopped=self._stopped)
        self._check(result, chosen)
        return result

    # --- time ----------------------------------------------------------------------------------------------------

    def _size(self) -> int:
        """Candidates, such that halving takes half of the budget."""
        if self.count is not None or self.budget is None:
            return self.count or USUAL
        images = self.budget / 2 / (1.2 * self._plain_seconds)
        # Each round after the first draws half as many images as the first.
        return max((size for size in SIZES if size * FIRST / 2 * (1 + math.log2(size)) <= images), default=SIZES[0])

    def _fits(self, seconds: float, share: float) -> bool:
        """Whether something that takes so long ends within a share of the budget."""
        return self.budget is None or time.monotonic() - self._began + seconds <= share * self.budget

    # --- drawing -------------------------------------------------------------------------------------------------

    def _missing(self, numbers: Sequence[int], method: str) -> list[int]:
        return [number for number in numbers if not self.run.has(self._study.keys(number, method))]

    def _rows(self, numbers: Sequence[int], method: str) -> list[dict[str, Any]]:
        return [self.run.row(self._study.keys(number, method)[0]) for number in numbers]

    def _draw(self, numbers: Sequence[int], method: str, share: float) -> bool:
        """Draw what is missing of a method's images; whether all fitted."""
        guide, guided = self.guide.with_config(self._study.methods[method].config), self._study.methods[method].guided
        todo = self._missing(numbers, method)
        for start in range(0, len(todo), self.batch):
            part = todo[start : start + self.batch]
            done = [row["seconds"] for row in self._rows(sorted({*numbers} - {*todo[start:]}), method)]
            if not self._fits(len(part) * float(np.mean(done or [1.2 * self._plain_seconds])), share):
                return False
            scenes = [self._scenes[number] for number in part]
            began = time.perf_counter()
            result = guide(
                [scene.prompt for scene in scenes],
                scene=scenes,
                seed=[self._study.first_seed(number) for number in part],
                guided=guided,
                watch=self.detector is None,
            )
            seconds = (time.perf_counter() - began) / len(part)
            for place, (number, scene, image) in enumerate(zip(part, scenes, result.images, strict=True)):
                shown = result.trace.seen(place)[-1][1].maps if self.detector is None else ()
                row = {"method": method, "seconds": seconds, **self._scored(scene, image, shown)}
                self.run.add(self._study.keys(number, method)[0], image, row)
        return True

    def _scored(self, scene: Scene, image: Image, shown: Sequence[Any] = ()) -> dict[str, Any]:
        if self.detector is None:
            maps, asked = [LayerMaps("finest", torch.tensor(shown)[None])], self.guide.plan(scene).structure
            shows = float(satisfaction(object_statistics(maps, asked), asked)) if shown else 0.0
            return {"score": shows, "part": 0.0, "detections": []}
        labels = tuple(dict.fromkeys(item.text for item in scene.objects))
        (boxes,) = self.detector([image], labels)
        relations, members = (
            self.guide.registry.relations(),
            [[b for b in boxes if b.label == item.text] for item in scene.objects],
        )
        score = float(judge(scene, boxes, relations, image.size).strict)
        part = np.mean([relation_holds(edge, members, relations[edge.predicate], image.size) for edge in scene.relations])
        spots = [(box.label, *(np.array(box.centroid) / image.size).tolist()) for box in boxes]
        return {"score": score, "part": float(part), "detections": spots}

    # --- layers --------------------------------------------------------------------------------------------------

    def _watched(self) -> list[dict[str, Any]]:
        """Rows of plain images, each watched on all layers; within a quarter of the budget."""
        guide = self.guide
        names = steered_layers(plain(denoiser_of(guide.pipeline)), guide.facts(guide.pipeline))
        watcher = guide.with_config(patched(guide.config, {"guidance.layers": {name: [name] for name in names}}))
        numbers = range(len(self.prompts))
        seconds = 0.0
        for number in self._missing(numbers, BASELINE):
            if number >= FIRST and not self._fits(seconds, 1 / 4):
                self._stopped.append(f"layers were watched on {number} of {len(self.prompts)} prompts")
                break
            watch = Watch(levels=names)
            watcher.terms = (Term("losses", "watch", watch, 1.0, "spatialguide"),)
            scene, began = self._scenes[number], time.perf_counter()
            image = watcher([scene.prompt], scene=[scene], seed=self.seed + number, guided=False, watch=True).images[0]
            seconds = time.perf_counter() - began
            places = np.mean([step[0] for step in watch.seen[: math.ceil(RANKED * len(watch.seen))]], axis=0)
            _, shown, cells = watch.seen[-1]
            row = {
                "method": BASELINE,
                "seconds": seconds,
                **self._scored(scene, image),
                "places": dict(zip(names, places.tolist(), strict=True)),
                "shown": dict(zip(names, shown, strict=True)),
                "cells": dict(zip(names, cells, strict=True)),
            }
            self.run.add(self._study.keys(number, BASELINE)[0], image, row)
        missing = self._missing(numbers, BASELINE)
        return self._rows(range(missing[0] if missing else len(numbers)), BASELINE)

    def _ranked(self, watched: Sequence[Mapping[str, Any]]) -> list[RankedLayer]:
        """Layers, the best first; sets a detector aside that finds nothing in the first images."""
        centres: list[Any] = []
        for row, scene in zip(watched, self._scenes, strict=False):
            spots = {label: (x, y) for label, x, y in reversed(row["detections"])}  # best score first
            centres += [spots.get(item.text) for item in scene.objects]
        # The same images at every start, so that one run has one judge.
        if self.detector is not None and not any(row["detections"] for row in watched[:FIRST]):
            self.say("the detector finds none of the objects: judging by the attention maps, without it")
            self.detector = None
        places = {name: [spot for row in watched for spot in row["places"][name]] for name in watched[0]["places"]}
        return rank_layers(places, watched[0]["cells"], centres)

    # --- candidates ----------------------------------------------------------------------------------------------

    def _choice(self, name: str, images: int) -> tuple[Choice, tuple[float, ...]]:
        """A candidate by its first images, and what it is ranked by: score, then the share of relations, then time."""
        drawn = list(takewhile(lambda number: not self._missing([number], name), range(images)))
        rows = self._rows(drawn, name)
        score, part, seconds = (float(np.mean([row[key] for row in rows])) for key in ("score", "part", "seconds"))
        plain_score = float(np.mean(self._plain[: len(rows)]))
        return Choice(name, len(rows), score, plain_score, seconds), (score, part, -seconds)

    def _halved(self) -> list[Choice]:
        """Candidates by successive halving, the winner first; the configured one stays to the end, to be compared with."""
        alive, dropped, images = list(self._study.methods), list[str](), FIRST
        whole = False
        while len(alive) > 1 or not whole:
            self.say(f"{len(alive)} candidates, {images} images each")
            if not all(self._draw(range(images), name, 3 / 4) for name in dict.fromkeys([*alive, CONFIGURED])):
                self._stopped.append(f"the round of {images} images each was not ended")
                break
            whole = True
            alive.sort(key=lambda name: self._choice(name, images)[1], reverse=True)
            half = math.ceil(len(alive) / 2)
            dropped = alive[half:] + dropped
            alive, images = alive[:half], min(2 * images, len(self._plain))
        if not whole:
            raise EvaluationError("the budget is too small for a first round: run the same command again to go on, or raise it")
        return [self._choice(name, len(self.prompts))[0] for name in (*alive, *dropped)]

    def _check(self, result: Calibration, chosen: Mapping[str, GuideConfig]) -> None:
        """The found one and the configured from other seeds, as many images as fit; the configured is kept unless beaten."""
        usual = chosen[CONFIGURED]
        methods = {BASELINE: Method(config=usual, guided=False), CONFIGURED: Method(config=usual)}
        methods |= {result.found: Method(config=result.config)}
        total, first = len(self.prompts), self.seed + len(self.prompts)
        self._study, done = self._study_of(methods, first), 0
        self.say(f"checking on other seeds: {total} images each")
        while done < total:
            numbers = range(done, min(done + self.batch, total))
            if not all(self._draw(numbers, name, 1.0) for name in methods):
                self._stopped.append(f"checked on {done} of {total} images")
                break
            done = numbers.stop
        if done == 0:
            return
        scores = {name: np.array([row["score"] for row in self._rows(range(done), name)]) for name in methods}
        result.check, result.checked = {name: float(each.mean()) for name, each in scores.items()}, done
        write_bytes(self.run.folder / "sheet.png", png_bytes(contact_sheet(self._study_of(methods, first, done), self.run)))
        if result.found != CONFIGURED:
            result.p = compare(scores[CONFIGURED], scores[result.found]).p_value
        if result.p is None or result.p >= CHANCE or result.check[CONFIGURED] > result.check[result.found]:
            result.found, result.config = CONFIGURED, usual
