"""The trace: what guidance saw and did at every guided step, as plain numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ImageStep:
    """One image at one guided step.

    terms: unweighted value of each loss term. loss: their weighted sum.
    centroids: (x, y) of each object in [0, 1], mean over layers.
    gradient_norm: Euclidean norm of the loss gradient. correction_norm: of the correction that it became.
    skipped: the gradient was not finite, so nothing was added.
    satisfaction: how well the maps show the scene, see `spatialguide.satisfaction`; 0 where no candidates are ranked.
    """

    terms: dict[str, float]
    loss: float
    centroids: tuple[tuple[float, float], ...]
    gradient_norm: float
    correction_norm: float
    skipped: bool
    satisfaction: float = 0.0


@dataclass(frozen=True)
class Step:
    """One gradient: a guided call of the denoiser, or one of its refinements. Images without a scene to guide are None."""

    index: int
    timestep: float
    images: tuple[ImageStep | None, ...]


@dataclass
class Trace:
    """All guided steps of one generation, in order."""

    steps: list[Step] = field(default_factory=list)

    @property
    def skipped(self) -> int:
        """How many image-steps were left uncorrected because a gradient or a term was not finite."""
        return sum(image.skipped for step in self.steps for image in step.images if image)

    def satisfaction(self, image: int) -> float:
        """Of an image, at the last step that was looked at; -inf for one that never was."""
        seen = [step.images[image] for step in self.steps]
        return next((found.satisfaction for found in reversed(seen) if found is not None), float("-inf"))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy."""
        return asdict(self)

    def plot(self, path: str | Path, image: int = 0, names: tuple[str, ...] = ()) -> None:
        """Save a figure: loss terms over the steps, and the objects' centroid paths.

        Args:
            path: where to save; the suffix chooses the format.
            image: which image of the batch.
            names: labels of the objects.

        Raises:
            ImportError: matplotlib is missing; install spatialguide[plot].
            ValueError: the image was not guided.
        """
        from matplotlib.figure import Figure

        taken = [(step.index, step.images[image]) for step in self.steps]
        rows = [(index, seen) for index, seen in taken if seen is not None]
        if not rows:
            raise ValueError(f"image {image} was not guided: there is nothing to plot")
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        steps = [index for index, _ in rows]
        for term in rows[0][1].terms:
            left.plot(steps, [seen.terms[term] for _, seen in rows], marker=".", label=term)
        left.set(xlabel="sampling step", ylabel="loss term", title="Loss terms")
        left.legend()
        for number in range(len(rows[0][1].centroids)):
            x, y = zip(*(seen.centroids[number] for _, seen in rows), strict=True)
            label = names[number] if number < len(names) else f"object {number}"
            (line,) = right.plot(x, y, marker=".", linewidth=1, label=label)
            right.plot(x[-1], y[-1], marker="o", markersize=10, color=line.get_color())
        right.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", title="Centroid paths", xlabel="x", ylabel="y")
        right.legend()
        figure.savefig(path)


def picked(traces: Sequence[Trace], chosen: Sequence[int]) -> Trace:
    """The trace of images that come from several generations of one batch: image i from the generation chosen[i]."""
    if len(traces) == 1:
        return traces[0]
    steps: dict[tuple[int, int], tuple[float, list[ImageStep | None]]] = {}
    for number, trace in enumerate(traces):
        calls: Counter[int] = Counter()
        for step in trace.steps:
            calls[step.index] += 1
            _, images = steps.setdefault((step.index, calls[step.index]), (step.timestep, [None] * len(chosen)))
            for place, which in enumerate(chosen):
                if which == number:
                    images[place] = step.images[place]
    return Trace([Step(index, timestep, tuple(images)) for (index, _), (timestep, images) in sorted(steps.items())])
