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
from spatialguide.scenes.planned import PlannedScene


@dataclass(frozen=True)
class Group:
    """Images of one structure. rows: their places in the batch; whole: they are all of it; terms: those that apply."""

    rows: tuple[int, ...]
    whole: bool
    scene: PlannedScene
    terms: tuple[Term, ...]

    def of(self, maps: Sequence[LayerMaps]) -> list[LayerMaps]:
        """The group's part of a batch's maps."""
        objects = len(self.scene.counts)
        if self.whole:
            return [LayerMaps(layer.level, layer.maps[:, :objects]) for layer in maps]
        return [LayerMaps(each.level, each.maps.index_select(0, index(self.rows, each.maps))[:, :objects]) for each in maps]


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
        cls, scenes: Sequence[PlannedScene | None], bindings: Sequence[Binding], per_scene: int, terms: Sequence[Term]
    ) -> SceneBatch:
        """Put scenes together.

        Args:
            scenes: one per prompt; None for one that is left to the plain pipeline.
            bindings: token positions, per scene and object.
            per_scene: images of each.
        """
        by_structure = not any(term.term.reads_words for term in terms)
        members: dict[Hashable, tuple[PlannedScene, list[int]]] = {}
        for number, scene in enumerate(scenes):
            if scene is not None and scene.counts:
                _, rows = members.setdefault(scene.structure if by_structure else scene, (scene, []))
                rows += range(number * per_scene, (number + 1) * per_scene)
        images = len(scenes) * per_scene
        groups = tuple(
            Group(tuple(rows), len(rows) == images, scene, tuple(term for term in terms if term.applies(scene)))
            for scene, rows in members.values()
        )
        tokens = [
            () if scene is None else binding for scene, binding in zip(scenes, bindings, strict=True) for _ in range(per_scene)
        ]
        return cls(images, groups, ObjectTokens(tokens))

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """One number per image of each group as one per image of the batch, (images,); 0 or False for images of no group."""
        if len(self.groups) == 1 and self.groups[0].whole:
            return values[0]
        rows = tuple(row for group in self.groups for row in group.rows)
        joined = torch.cat(list(values))
        return joined.new_zeros(self.images).index_copy(0, index(rows, joined), joined)
