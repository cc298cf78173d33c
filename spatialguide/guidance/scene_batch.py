"""The scenes of a batch, put together so that they are scored in one pass."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spatialguide.guidance.attention import Binding, ObjectTokens
from spatialguide.guidance.constants import index
from spatialguide.guidance.losses import Term
from spatialguide.guidance.statistics import LayerMaps
from spatialguide.guidance.steering import Steer
from spatialguide.scenes.planned import PlannedScene


@dataclass(frozen=True)
class Group:
    """Images of one structure. rows: their places in the batch; whole: they are all of it; terms, steers: those that apply.

    attributes: how many of them have maps, after the objects'.
    """

    rows: tuple[int, ...]
    whole: bool
    scene: PlannedScene
    terms: tuple[Term, ...]
    attributes: int = 0
    steers: tuple[Steer, ...] = ()

    def of(self, maps: Sequence[LayerMaps]) -> list[LayerMaps]:
        """The group's part of a batch's maps."""
        own = maps if self.whole else [LayerMaps(e.level, e.maps.index_select(0, index(self.rows, e.maps))) for e in maps]
        end = len(self.scene.counts)
        if not self.attributes:
            return [LayerMaps(each.level, each.maps[:, :end]) for each in own]
        return [LayerMaps(e.level, e.maps[:, :end], e.maps[:, end : end + self.attributes]) for e in own]


@dataclass(frozen=True)
class SceneBatch:
    """The images of one generation, those of each scene one after another.

    groups: of images that have objects to look at. tokens: of each image's objects.
    """

    images: int
    groups: tuple[Group, ...]
    tokens: ObjectTokens

    @classmethod
    def of(
        cls,
        scenes: Sequence[PlannedScene | None],
        bindings: Sequence[Binding],
        per_scene: int,
        terms: Sequence[Term],
        steers: Sequence[Steer] = (),
    ) -> SceneBatch:
        """Put scenes together.

        Args:
            scenes: one per prompt; None for one that is left to the plain pipeline.
            bindings: token positions, per scene: of each object, then of each attribute, which are left out unless a term
                reads them.
            per_scene: images of each.
        """
        wordy = [term.term.reads_words or term.term.reads_attributes for term in terms]
        by_structure = not any([*wordy, *(each.plugin.reads_words for each in steers)])
        if not any(term.term.reads_attributes for term in terms):
            bindings = [binding[: len(scene.counts) if scene else 0] for scene, binding in zip(scenes, bindings, strict=True)]
        members: dict[Hashable, tuple[PlannedScene, int, list[int]]] = {}
        for number, (scene, binding) in enumerate(zip(scenes, bindings, strict=True)):
            if scene is not None and scene.counts:
                attributes = len(binding) - len(scene.counts)
                _, _, rows = members.setdefault(scene.structure if by_structure else scene, (scene, attributes, []))
                rows += range(number * per_scene, (number + 1) * per_scene)
        images = len(scenes) * per_scene
        groups = tuple(
            Group(
                tuple(rows),
                len(rows) == images,
                scene,
                tuple(term for term in terms if term.applies(scene)),
                attributes,
                tuple(steer for steer in steers if steer.applies(scene)),
            )
            for scene, attributes, rows in members.values()
        )
        tokens = [
            () if scene is None else binding for scene, binding in zip(scenes, bindings, strict=True) for _ in range(per_scene)
        ]
        return cls(images, groups, ObjectTokens(tokens))

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """What there is for each image of each group as one tensor for the batch, (images, ...); 0 or False for images of no
        group."""
        if len(self.groups) == 1 and self.groups[0].whole:
            return values[0]
        rows = tuple(row for group in self.groups for row in group.rows)
        joined = torch.cat(list(values))
        return joined.new_zeros(self.images, *joined.shape[1:]).index_copy(0, index(rows, joined), joined)
