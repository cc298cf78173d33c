"""Images that are there already, in a folder as a publication lays it out, by the publication's rule and the strict one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from spatialguide.contracts import Benchmark, Detector
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.pictures import opened
from spatialguide.evaluation.strict import judge
from spatialguide.evaluation.uncertainty import Comparison, Figure, compare, mean_figure
from spatialguide.guide import SpatialGuide

#: Columns of a folder's figures: all objects found, the rule's score, and what the strict rule says.
COLUMNS = ("OA", "uncond", "strict", "missing", "double")

_COMPARED = ("uncond", "strict")


@dataclass(frozen=True)
class FolderScores:
    """Percentages of a folder's images, by prompt: rows[prompt] has one value for each of COLUMNS, the mean of its images."""

    images: int
    rows: dict[str, NDArray[np.float64]]

    @property
    def figures(self) -> dict[str, Figure]:
        """Means over prompts, with intervals."""
        table = np.array(list(self.rows.values()))
        return {name: mean_figure(table[:, place]) for place, name in enumerate(COLUMNS)}

    def against(self, other: FolderScores) -> dict[str, Comparison]:
        """What `uncond` and `strict` are over another folder's, paired over the prompts that both hold.

        Raises:
            EvaluationError: they share no prompt.
        """
        shared = [prompt for prompt in self.rows if prompt in other.rows]
        if not shared:
            raise EvaluationError("the two folders share no prompt: they cannot be compared; give two of the same prompts")
        before, after = (np.array([scores.rows[prompt] for prompt in shared]) for scores in (other, self))
        return {name: compare(before[:, place], after[:, place]) for place, name in enumerate(COLUMNS) if name in _COMPARED}


def score_folder(
    name: str, folder: Path, detector: Detector, guide: SpatialGuide, console: Console | None = None
) -> FolderScores:
    """Detect and judge every image of a folder.

    Args:
        name: of the benchmark whose layout and rule they are.

    Raises:
        EvaluationError: the folder is not laid out so, or a file is no image.
    """
    registry = guide.registry
    benchmark: Benchmark = registry.make("benchmarks", name, {})
    found = registry.call("benchmarks", name, lambda: benchmark.pictures(folder))
    rows: dict[str, list[Any]] = {}
    for case, paths in track(found, "detecting", console=console, transient=True):
        scene = guide.parse(case.prompt)
        for path in paths:
            (image,) = opened([path])
            (boxes,) = detector([image], benchmark.labels(case, scene))
            detected, score = benchmark.score(case, scene, boxes, image.size, registry.relations())
            verdict = judge(scene, boxes, registry.relations(), image.size, benchmark.label)
            row = (detected, score, verdict.strict, verdict.missing, verdict.double)
            rows.setdefault(case.prompt, []).append([100 * float(value) for value in row])
    means = {prompt: np.array(values).mean(axis=0) for prompt, values in rows.items()}
    return FolderScores(sum(map(len, rows.values())), means)
