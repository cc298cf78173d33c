"""The trace: what guidance saw and did at every guided step, as plain numbers."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from spatialguide.errors import UnguidedWarning
from spatialguide.guidance.ranking import finest_maps, satisfaction
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.scenes.planned import Structure

if TYPE_CHECKING:
    from spatialguide.guidance.losses import Term

#: One object's attention, row by row from the top, each value the share of a place's attention that goes to the object.
ObjectMap = list[list[float]]


@dataclass(frozen=True)
class ImageStep:
    """One image at one guided step.

    terms: unweighted value of each loss term. loss: their weighted sum.
    centroids: (x, y) of each object in [0, 1], mean over layers.
    gradient_norm: Euclidean norm of the loss gradient. correction_norm: of the correction that it became.
    skipped: something was not finite, so nothing was added.
    needed: how much of a correction the image still needed; 0 once its relations hold, and at a step that corrected nothing.
    bias: how much of the bias its attention got, 1 for all of it; None at a step without.
    satisfaction: how well the maps show the scene, see `spatialguide.guidance.ranking`; at the step at which candidates are
        ranked, else None.
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
    needed: float = 0.0
    bias: float | None = None

    @property
    def lost(self) -> bool:
        """Whether it needed a correction and got none, and no bias."""
        return not self.bias and (self.skipped or (self.needed > 0 and self.correction_norm == 0))


@dataclass(frozen=True)
class Step:
    """A call of the denoiser that was guided, or only looked at. Images without a scene to guide are None."""

    index: int
    timestep: float
    images: tuple[ImageStep | None, ...]
    guided: bool = True


@dataclass(frozen=True)
class GroupRecord:
    """What a step saw of images of one structure, still on the device: (images, ...); terms: (names, images)."""

    rows: tuple[int, ...]
    names: Sequence[str]
    loss: Tensor
    terms: Tensor
    centroids: Tensor
    satisfaction: Tensor | None
    maps: Tensor | None

    @classmethod
    def of(
        cls,
        rows: tuple[int, ...],
        names: Sequence[str],
        statistics: ObjectStatistics,
        scene: Structure,
        loss: Tensor,
        terms: Tensor,
        ranked: bool,
        watched: bool,
    ) -> GroupRecord:
        """ranked: say how well each image shows its scene; watched: keep the objects' maps."""
        return cls(
            rows,
            names,
            loss.detach(),
            terms.detach(),
            statistics.centroid.detach().mean(dim=1),
            satisfaction(statistics, scene) if ranked else None,
            finest_maps(statistics) if watched else None,
        )


class CorrectionNorms(NamedTuple):
    """Euclidean norms of each image's gradient and correction, whether all was finite, and how much was needed, (images,).

    Still on the device.
    """

    gradient: Tensor
    correction: Tensor
    finite: Tensor
    needed: Tensor


@dataclass(frozen=True)
class BiasShares:
    """How much of the bias images got. rows: those that were steered; unmet: the share, (images,), None for all of it."""

    rows: frozenset[int]
    unmet: Tensor | None


@dataclass(frozen=True)
class StepRecord:
    """What a step saw and did, still on the device.

    norms: None for a step that corrected nothing. bias: None for one without.
    """

    index: int
    timestep: float
    images: int
    groups: tuple[GroupRecord, ...]
    norms: CorrectionNorms | None = None
    bias: BiasShares | None = None

    def read(self) -> Step:
        """Copied to the host, as plain numbers."""
        rows: list[ImageStep | None] = [None] * self.images
        if self.norms is None:
            gradient = correction = needed = [0.0] * self.images
            finite = [True] * self.images
        else:
            gradient, correction, finite, needed = (each.tolist() for each in self.norms)
        bias: list[float | None] = [None] * self.images
        if self.bias is not None:
            shares = [1.0] * self.images if self.bias.unmet is None else self.bias.unmet.tolist()
            bias = [share if row in self.bias.rows else None for row, share in enumerate(shares)]
        for group in self.groups:
            terms = dict(zip(group.names, group.terms.tolist(), strict=True))
            loss, centroids = group.loss.tolist(), group.centroids.tolist()
            shown = [None] * len(loss) if group.satisfaction is None else group.satisfaction.tolist()
            maps = [()] * len(loss) if group.maps is None else group.maps.tolist()
            for i, row in enumerate(group.rows):
                rows[row] = ImageStep(
                    {name: numbers[i] for name, numbers in terms.items()},
                    loss[i],
                    tuple((x, y) for x, y in centroids[i]),
                    gradient[row] if math.isfinite(gradient[row]) else 0.0,
                    correction[row] if finite[row] else 0.0,
                    not finite[row],
                    shown[i],
                    tuple(maps[i]),
                    needed[row],
                    bias[row],
                )
        return Step(self.index, self.timestep, tuple(rows), self.norms is not None or self.bias is not None)


class Trace:
    """All guided steps of one generation, in order. They are copied from the device when they are read.

    method: by which it was guided, None if not at all; reason: why not by gradients, where method "auto" would have.
    """

    def __init__(self, steps: Iterable[Step] = (), method: str | None = None, reason: str | None = None) -> None:
        self._steps, self._unread = list(steps), list[StepRecord]()
        self.method, self.reason = method, reason

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and self.steps == other.steps

    def add(self, record: StepRecord) -> None:
        """Keep one step."""
        self._unread.append(record)

    def clear(self) -> None:
        """Forget all steps, since another generation begins."""
        self._steps, self._unread = [], []
        self.method = self.reason = None

    @property
    def steps(self) -> list[Step]:
        """The steps, as plain numbers."""
        unread, self._unread = self._unread, []
        self._steps += (record.read() for record in unread)
        return self._steps

    @property
    def skipped(self) -> int:
        """How many image-steps were left uncorrected because a gradient or a term was not finite."""
        return sum(image.skipped for step in self.steps for image in step.images if image)

    def satisfaction(self, image: int) -> float:
        """Of an image, at the step at which candidates are ranked; -inf for one that never was."""
        scores = [found.satisfaction for step in self.steps if (found := step.images[image]) is not None]
        return next((score for score in reversed(scores) if score is not None), float("-inf"))

    def guided(self, image: int) -> bool:
        """Whether any step guided an image: corrected it, or found that all of its relations hold."""
        return any(not step.lost for step in self._guided_steps(image))

    def skipped_steps(self, image: int) -> int:
        """How many steps left an image uncorrected because a gradient or a term was not finite."""
        return sum(step.skipped for step in self._guided_steps(image))

    def warn(self, terms: Sequence[Term]) -> None:
        """Warn of `faults`, once the generation is over."""
        for fault in self.faults(terms):
            warnings.warn(fault, UnguidedWarning, stacklevel=3)

    def faults(self, terms: Sequence[Term]) -> list[str]:
        """Images that needed a correction and got none, and the terms that it is due to, a line for each kind."""
        images: dict[str, list[int]] = {}
        for image in range(max((len(step.images) for step in self.steps), default=0)):
            fault = self._fault(image, {term.name: term.where for term in terms})
            if fault is not None:
                images.setdefault(fault, []).append(image)
        return [
            f"{'image' if len(numbers) == 1 else 'images'} {', '.join(map(str, numbers))}: {fault}"
            for fault, numbers in images.items()
        ]

    def _fault(self, image: int, where: Mapping[str, str]) -> str | None:
        steps = self._guided_steps(image)
        skipped = [step for step in steps if step.skipped]
        if not steps or (not skipped and any(not step.lost for step in steps)):
            return None
        broken = {name for step in skipped for name, value in step.terms.items() if not math.isfinite(value)}
        names = ", ".join(where.get(name, name) for name in steps[0].terms if name in broken or not broken)
        what = f"the {'value' if broken else 'gradient'} of {names}"
        if skipped:
            return f"{len(skipped)} of {len(steps)} guided steps were skipped: {what} was not finite"
        return f"no guided step changed it, though its scene asks for it: {what}, or the correction made of it, was zero"

    def _guided_steps(self, image: int) -> list[ImageStep]:
        """Steps that guided an image, and did not only look at it."""
        seen = [step.images[image] for step in self.steps if step.guided]
        return [step for step in seen if step is not None and (step.terms or step.bias is not None)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy."""
        return {"method": self.method, "reason": self.reason, "steps": [asdict(step) for step in self.steps]}

    def seen(self, image: int) -> list[tuple[int, ImageStep]]:
        """(number of the sampling step, what was seen of one image), in order; of several calls in a step the last."""
        found = {step.index: step.images[image] for step in self.steps}
        return [(number, step) for number, step in found.items() if step is not None]


def picked(traces: Sequence[Trace], chosen: Sequence[int]) -> Trace:
    """The trace of images that come from several generations of one batch: image i from the generation chosen[i]."""
    if len(traces) == 1:
        return traces[0]
    steps: dict[tuple[int, int], tuple[Step, list[ImageStep | None]]] = {}
    for number, trace in enumerate(traces):
        calls: Counter[int] = Counter()
        for step in trace.steps:
            calls[step.index] += 1
            _, images = steps.setdefault((step.index, calls[step.index]), (step, [None] * len(chosen)))
            for place, which in enumerate(chosen):
                if which == number:
                    images[place] = step.images[place]
    ordered = sorted(steps.items(), key=lambda item: item[0])
    kept = (replace(step, images=tuple(images)) for _, (step, images) in ordered)
    return Trace(kept, traces[0].method, traces[0].reason)
