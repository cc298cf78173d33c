"""Binding: an attribute's attention lies where its noun's does, and where no other's does (after SynGen, arXiv 2306.08877)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.constants import constant
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import PlannedScene, Structure
from spatialguide.terms.maps import distributions, layer_mean


class Binding(LossTerm):
    """mean over attributes of 1 - o(a, own noun) + apart * mean over other nouns of o(a, n), mean over layers.

    o(a, n) = sum over cells of min(p_a, p_n), p maps scaled to sum to one: 0 for maps that are apart, 1 for equal ones. SynGen
    takes the symmetric Kullback-Leibler divergence in place of 1 - o, which has no bound when maps are to part, and parts them
    from all words of the prompt. Here the other nouns alone count, and the gradient corrects the noise.

    apart: weight of the second part.
    """

    reads_words: ClassVar[bool] = True
    reads_attributes: ClassVar[bool] = True
    levels: tuple[str, ...] = ("coarse", "mid")
    apart: float = Field(default=1.0, ge=0)

    def applies(self, scene: Structure) -> bool:
        """To scenes with an attribute, such as a colour."""
        return isinstance(scene, PlannedScene) and bool(scene.scene.attribute_spans)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Zero where every attribute lies on its noun alone, and where the attributes' tokens are not known."""
        owners = [owner for owner, _ in scene.scene.attribute_spans] if isinstance(scene, PlannedScene) else []
        if not statistics.attributes or not owners:
            return 0 * statistics.mass.sum(dim=(1, 2))
        parts = zip(statistics.attributes, statistics.maps, strict=True)
        return layer_mean(self._layer(distributions(words), distributions(nouns), owners) for words, nouns in parts)

    def _layer(self, words: Tensor, nouns: Tensor, owners: Sequence[int]) -> Tensor:
        shared = torch.minimum(words[:, :, None], nouns[:, None]).sum(dim=(-2, -1))  # (images, attributes, objects)
        objects = nouns.shape[1]
        others = self.apart / max(objects - 1, 1)
        weights = constant(tuple(tuple(-1.0 if n == owner else others for n in range(objects)) for owner in owners), shared)
        return 1 + (shared * weights).sum(dim=2).mean(dim=1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """binding."""
    register("binding", Binding)
