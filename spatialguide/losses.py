"""The weighted sum of loss terms over the scenes of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from spatialguide.config import TermConfig, explain
from spatialguide.contracts import LossTerm, Relation
from spatialguide.errors import ConfigError, InvalidPluginError, MissingTermWarning, PluginError, SpatialGuideError
from spatialguide.layout import layout_distances, together
from spatialguide.observer import AttentionObserver, Bindings, LayerMaps
from spatialguide.registry import Registry
from spatialguide.satisfaction import finest, finest_maps, satisfaction
from spatialguide.scene import Scene
from spatialguide.statistics import ObjectStatistics, object_statistics
from spatialguide.trace import ImageStep, ObjectMap

#: Part of the layout's distance at which a relation counts as held, where that is less than the margin.
REACHED = 0.8
_TINY = 1e-3


@dataclass(frozen=True)
class Term:
    """A loss term, its weight, and where it came from."""

    name: str
    term: LossTerm
    weight: float
    distribution: str


@dataclass(frozen=True)
class Scored:
    """Loss of a batch.

    total: scalar, sum over images, differentiable. finite: (images,), whether every term was finite.
    images: per image, for the trace. distances: per image, signed distances of its relations, mean over layers. reach: those
    that the scene's layout has.
    """

    total: Tensor
    finite: Tensor
    images: list[ImageStep | None]
    distances: list[Tensor]
    reach: list[Tensor]

    def unmet(self, margin: float | None) -> Tensor:
        """How far each image is from showing its relations: the length of the vector of their shares; 1 without relations.

        A relation's share is how far it is from holding with `margin`, in [0, 1], and 1 with None for a margin. All relations
        draw on one correction, and those that have nothing to do with each other pull at right angles: n relations need
        sqrt(n) times as much for each to have what it would have alone.

        `REACHED` of the distance in the scene's layout counts where that is less than the margin, as it is for many objects in
        a row. Relations that do not hold in it ("between two trees", whose distance is zero at best) are not waited for.
        """
        lengths = []
        for every, layout in zip(self.distances, self.reach, strict=True):
            distances, reach = every[layout > 0], layout[layout > 0]
            if not distances.numel():
                lengths.append(torch.ones((), device=self.total.device))
                continue
            shares = torch.ones_like(distances)
            if margin is not None:
                wanted = (REACHED * reach).clamp(min=_TINY, max=margin)
                shares = ((wanted - distances) / wanted).clamp(0, 1)
            lengths.append(torch.linalg.vector_norm(shares))
        return torch.stack(lengths)


@dataclass(frozen=True)
class LossSum:
    """sum_k weight_k * term_k(statistics, scene), per image.

    Args:
        terms: from `make_terms`.
        relations: relation plugins by predicate.
        map_size, average: see `GuidanceConfig`.
        watched: whether to keep each object's map for the trace.
    """

    terms: tuple[Term, ...]
    relations: Mapping[str, Relation]
    map_size: int | None = None
    average: Literal["levels", "layers"] = "levels"
    watched: bool = False
    #: Distances in the layout of each structure, found at its first step.
    _layouts: dict[Hashable, list[float]] = field(default_factory=dict)

    def __call__(
        self,
        observer: AttentionObserver,
        scenes: Sequence[Scene],
        bindings: Bindings,
        sample: Tensor,
        *,
        ranked: bool = False,
    ) -> Scored:
        """Score every image of the observed batch, which holds the images of each scene one after another.

        Args:
            ranked: whether to say how well each image shows its scene.
        """
        per_scene = sample.shape[0] // len(scenes)
        size = (sample.shape[-2], sample.shape[-1])
        total = torch.zeros((), device=sample.device)
        finite = torch.ones(sample.shape[0], dtype=torch.bool, device=sample.device)
        images: list[ImageStep | None] = [None] * sample.shape[0]
        distances = [torch.zeros(0, device=sample.device)] * sample.shape[0]
        reach = list(distances)
        if len(bindings) != len(scenes):
            raise ValueError(f"{len(scenes)} scenes need as many bindings, not {len(bindings)}")
        for members in self._alike(scenes):
            scene = scenes[members[0]]
            places = [slice(number * per_scene, (number + 1) * per_scene) for number in members]
            found = [observer.maps(place, bindings[number], size) for place, number in zip(places, members, strict=True)]
            rows = [row for place in places for row in range(place.start, place.stop)]
            statistics = object_statistics(_joined(found), self.map_size)
            gaps = self._distances(statistics, scene)
            terms = applying(self.terms, scene)
            values = {term.name: self._value(term, statistics, scene, len(rows)) for term in terms}
            loss = sum(
                (self._weight(term, statistics) * values[term.name] for term in terms),
                torch.zeros(len(rows), device=sample.device),
            )
            good = torch.stack([value.isfinite() for value in values.values()]).all(dim=0) if values else loss.isfinite()
            # A term that is not finite for one image must not spoil the others.
            total = total + torch.where(good, loss, torch.zeros_like(loss)).sum()
            finite[rows] = good
            if scene.structure not in self._layouts:
                self._layouts[scene.structure] = layout_distances(scene, self.relations)
            wanted = gaps.new_tensor(self._layouts[scene.structure])
            shown = self._satisfaction(statistics, scene).tolist() if ranked else [None] * len(rows)
            maps = _maps(statistics) if self.watched else [()] * len(rows)
            steps = _image_steps(values, loss, statistics, shown, maps)
            for row, gap, step in zip(rows, gaps, steps, strict=True):
                distances[row], reach[row], images[row] = gap, wanted, step
        return Scored(total, finite, images, distances, reach)

    def _alike(self, scenes: Sequence[Scene]) -> list[list[int]]:
        """Numbers of the scenes that can be scored as one, those without objects left out.

        On a GPU a term's time is that of its launches, whatever the number of images.
        """
        by_structure = all(term.term.wordless for term in self.terms)
        groups: dict[Hashable, list[int]] = {}
        for number, scene in enumerate(scenes):
            if scene.objects:
                groups.setdefault(scene.structure if by_structure else scene, []).append(number)
        return list(groups.values())

    def _weight(self, term: Term, statistics: ObjectStatistics) -> float:
        if self.average == "levels":
            return term.weight
        return term.weight * sum(level in term.term.levels for level in statistics.levels) / len(statistics.levels)

    def _value(self, term: Term, statistics: ObjectStatistics, scene: Scene, images: int) -> Tensor:
        where = f"loss '{term.name}' of distribution '{term.distribution}'"
        try:
            value = term.term(statistics.at(term.term.levels), scene, self.relations)
        except SpatialGuideError:
            raise
        except Exception as error:
            raise PluginError(f"{where} raised {type(error).__name__}: {error}; repair it, or leave the term out") from error
        if not isinstance(value, Tensor) or value.shape != (images,):
            got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise InvalidPluginError(f"{where} returned {got}; it must return a tensor of shape ({images},)")
        if statistics.mass.requires_grad and not value.requires_grad and bool(value.any()):
            fault = f"{where} has no gradient and guides nothing: compute it from the statistics without detach() or item()"
            warnings.warn(fault, MissingTermWarning, stacklevel=2)
        return value

    def _satisfaction(self, statistics: ObjectStatistics, scene: Scene) -> Tensor:
        seen = finest(statistics)
        return satisfaction(seen, self._distances(seen, scene), together(scene, self.relations))

    def _distances(self, statistics: ObjectStatistics, scene: Scene) -> Tensor:
        """(images, relations), without a graph."""
        centroid = statistics.centroid.detach().mean(dim=1)
        columns = []
        for edge in scene.relations:
            try:
                grounds = (centroid[:, ground] for ground in edge.objects)
                columns.append(self.relations[edge.predicate].distance(centroid[:, edge.subject], *grounds))
            except Exception as error:
                raise PluginError(
                    f"relation '{edge.predicate}' raised {type(error).__name__}: {error}; repair or uninstall it"
                ) from error
        return torch.stack(columns, dim=1) if columns else centroid.new_zeros(centroid.shape[0], 0)


def _joined(found: Sequence[tuple[LayerMaps, ...]]) -> tuple[LayerMaps, ...]:
    """Maps of several scenes with as many objects, one after another, per layer."""
    return tuple(LayerMaps(same[0].level, torch.cat([layer.maps for layer in same])) for same in zip(*found, strict=True))


def _image_steps(
    values: Mapping[str, Tensor],
    loss: Tensor,
    statistics: ObjectStatistics,
    satisfied: Sequence[float | None],
    maps: Sequence[tuple[ObjectMap, ...]],
) -> list[ImageStep | None]:
    terms = {name: value.detach().tolist() for name, value in values.items()}
    centroids = statistics.centroid.detach().mean(dim=1).tolist()
    return [
        ImageStep(
            {name: numbers[i] for name, numbers in terms.items()},
            total,
            tuple((x, y) for x, y in centroids[i]),
            0.0,
            0.0,
            False,
            shown,
            maps[i],
        )
        for i, (total, shown) in enumerate(zip(loss.detach().tolist(), satisfied, strict=True))
    ]


def _maps(statistics: ObjectStatistics) -> list[tuple[ObjectMap, ...]]:
    """Per image, each object's map on the finest level, mean over its layers."""
    rows: list[list[ObjectMap]] = finest_maps(finest(statistics)).tolist()
    return [tuple(maps) for maps in rows]


def applying(terms: Sequence[Term], scene: Scene) -> list[Term]:
    """The terms that have anything to say of a scene.

    Raises:
        PluginError: a term raises when it is asked.
    """
    found = []
    for term in terms:
        try:
            if term.term.applies(scene):
                found.append(term)
        except Exception as error:
            where = f"loss '{term.name}' of distribution '{term.distribution}'"
            raise PluginError(f"{where} raised {type(error).__name__}: {error}; repair it, or leave the term out") from error
    return found


def make_terms(losses: Mapping[str, TermConfig], registry: Registry) -> tuple[Term, ...]:
    """Build the configured loss terms.

    Raises:
        UnknownPluginError: no such loss.
        ConfigError: a term does not know an option, or a value is out of range.
    """
    terms = []
    for name, config in losses.items():
        kind: type[LossTerm] = registry.get("losses", name)
        try:
            term = kind(**config.options)
        except ValidationError as error:
            raise ConfigError(f"losses.{name}: {explain(error, kind)}") from error
        terms.append(Term(name, term, config.weight, registry.origin("losses", name).distribution))
    return tuple(terms)
