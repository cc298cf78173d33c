"""CONFORM: maps of one object attract each other, maps of different objects repel (Meral et al., arXiv 2312.06059)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.maps import directions


class Conform(LossTerm):
    """InfoNCE: mean over positive pairs (a, p) of -log(e^s_ap / (e^s_ap + sum over negatives n of e^s_an)).

    s is the cosine similarity of two maps over `temperature`. Positives of a map are the same object's maps on the other
    layers, or itself where there is one layer; negatives are the other objects' maps on all layers. The paper's positives are
    an object's attributes and its own map at the step before, neither of which is used here. Layers of different grids are
    averaged down to the smallest. Maps are probabilities over all tokens, and the gradient corrects the noise.
    """

    levels: tuple[str, ...] = ("coarse",)
    temperature: float = Field(default=0.5, gt=0)

    def applies(self, scene: Structure) -> bool:
        """To every scene with two objects or more."""
        return len(scene.counts) > 1

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Zero for a single object."""
        vectors = directions(statistics.maps)
        layers, objects = vectors.shape[1:3]
        vectors = vectors.flatten(1, 2)
        similarity = vectors @ vectors.transpose(1, 2) / self.temperature
        owner = torch.arange(objects, device=vectors.device).repeat(layers)
        same = owner[:, None] == owner[None, :]
        positive = same & ~torch.eye(len(owner), dtype=torch.bool, device=vectors.device) if layers > 1 else same
        # A finite stand-in for log 0 keeps the gradient finite where a map has no negatives.
        repelled = similarity.masked_fill(same, -1e4).logsumexp(dim=2, keepdim=True)
        return (torch.logaddexp(similarity, repelled) - similarity)[:, positive].mean(dim=1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """conform."""
    register("conform", Conform)
