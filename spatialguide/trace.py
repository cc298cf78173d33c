"""The trace: what guidance saw and did at every guided step, as plain numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: One object's attention, row by row from the top, each value the share of a place's attention that goes to the object.
ObjectMap = list[list[float]]


@dataclass(frozen=True)
class ImageStep:
    """One image at one guided step.

    terms: unweighted value of each loss term. loss: their weighted sum.
    centroids: (x, y) of each object in [0, 1], mean over layers.
    gradient_norm: Euclidean norm of the loss gradient. correction_norm: of the correction that it became.
    skipped: the gradient was not finite, so nothing was added.
    satisfaction: how well the maps show the scene, see `spatialguide.satisfaction`; at the step at which candidates are ranked,
        else None.
    maps: of each object, on the finest observed level; empty unless the generation was watched.
    """

    terms: dict[str, float]
    loss: float
    centroids: tuple[tuple[float, float], ...]
    gradient_norm: float
    correction_norm: float
    skipped: bool
    satisfaction: float | None = None
    maps: tuple[ObjectMap, ...] = ()


@dataclass(frozen=True)
class Step:
    """A call of the denoiser that was guided or looked at, or a refinement of it. Images without a scene to guide are None."""

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
        """Of an image, at the step at which candidates are ranked; -inf for one that never was."""
        scores = [found.satisfaction for step in self.steps if (found := step.images[image]) is not None]
        return next((score for score in reversed(scores) if score is not None), float("-inf"))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy."""
        return asdict(self)

    def plot(self, path: str | Path, image: int = 0, names: tuple[str, ...] = ()) -> None:
        """Save `figure`; the path's suffix chooses the format.

        Raises:
            PictureError: matplotlib is missing, or the image was neither guided nor watched.
        """
        self.figure(image, names).savefig(path)

    def seen(self, image: int) -> list[tuple[int, ImageStep]]:
        """(number of the sampling step, what was seen of one image), in order; of refined steps the last look."""
        found = {step.index: step.images[image] for step in self.steps}
        return [(index, step) for index, step in found.items() if step is not None]

    def figure(self, image: int = 0, names: Sequence[str] = ()) -> Figure:
        """A figure for one image of the batch: loss terms and strength over the steps, and the objects' centroid paths.

        Args:
            image: which image of the batch.
            names: labels of the objects.

        Raises:
            PictureError: matplotlib is missing, or the image was neither guided nor watched.
        """
        from spatialguide.pictures import trace_figure

        return trace_figure(self, image, names)


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
