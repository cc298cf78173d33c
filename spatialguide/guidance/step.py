"""The method on one screen: attention maps -> statistics -> loss terms -> gradient -> corrected prediction.

InfSplign (arXiv 2512.17851): eps_hat = eps_uncond + s (eps_cond - eps_uncond) + eta grad_z L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spatialguide.config import GuidanceConfig
from spatialguide.guidance.bias import Sight
from spatialguide.guidance.correction import norms, paper_correction, relative_correction, rescaled
from spatialguide.guidance.losses import unmet, weighted_sum
from spatialguide.guidance.ranking import MARGIN
from spatialguide.guidance.scene_batch import SceneBatch
from spatialguide.guidance.schedule import StepPlan
from spatialguide.guidance.statistics import LayerMaps, object_statistics
from spatialguide.guidance.trace import CorrectionNorms, GroupRecord

#: Half-precision gradients underflow: the loss is scaled up, and the gradient down again.
_LOSS_SCALE = 2.0**10


@dataclass(frozen=True)
class Prediction:
    """What the pipeline is about to step with.

    combined: eps_uncond + s (eps_cond - eps_uncond), with all that the pipeline does after it, (images, ...). unconditional:
    eps_uncond, None without classifier-free guidance. kind, alpha: see `correction`. channels: their axis.
    """

    combined: Tensor
    unconditional: Tensor | None
    kind: str
    alpha: float
    channels: int


@dataclass(frozen=True)
class Scores:
    """What the maps say, (images,). loss: L; needed: how much of the correction for one relation; holds: whether all hold.

    sight: what the next step's bias follows, None without.
    """

    loss: Tensor
    needed: Tensor
    holds: Tensor | None
    sight: Sight | None
    groups: tuple[GroupRecord, ...]


def score(maps: Sequence[LayerMaps], batch: SceneBatch, config: GuidanceConfig, plan: StepPlan, watched: bool) -> Scores:
    """L = sum_k weight_k term_k(statistics), images of one structure as one tensor.

    Args:
        maps: per layer, (images, objects, height, width).
        watched: keep the maps; and the loss is of interest, where nothing is corrected too.
    """
    losses, needed, holds, places, unmet_shares, records = [], [], [], [], [], []
    margin = MARGIN if config.settle else None
    for group in batch.groups:
        scene = group.scene.structure
        terms = group.terms if plan.guided or watched or not plan.biased else ()
        statistics = object_statistics(group.of(maps), scene, config.map_size)  # (images, layers, objects)
        loss, values = weighted_sum(terms, statistics, group.scene, config.average)  # (images,)
        distances = statistics.distances.detach().mean(dim=1)  # (images, relations)
        losses.append(loss)
        relative = config.mode == "relative"
        needed.append(unmet(distances, scene.reach, margin) if relative else torch.ones_like(loss))
        if config.patience is not None:
            holds.append(unmet(distances, scene.reach, MARGIN) <= 0)
        if plan.biased:
            places.append(statistics.place.detach().mean(dim=1))
            unmet_shares.append(unmet(distances, scene.reach, margin) / max(scene.can_hold, 1) ** 0.5)
        names = [term.name for term in terms]
        records.append(GroupRecord.of(group.rows, names, statistics, scene, loss, values, plan.ranked, watched))
    sight = Sight(tuple(places), batch.joined(unmet_shares)) if plan.biased else None
    return Scores(batch.joined(losses), batch.joined(needed), batch.joined(holds) if holds else None, sight, tuple(records))


def gradient(loss: Tensor, needed: Tensor, leaves: Sequence[Tensor], half: bool) -> Tensor:
    """grad_z L, float32, in the shape of what the denoiser received; a loss that is not finite must not spoil other images.

    Args:
        loss: (images,). needed: how much of the correction each image needs, (images,).
        leaves: z, one tensor of all images or one of each. half: the denoiser ran in half precision.
    """
    # Only on the CPU is it free to ask whether there is anything to do.
    if not loss.requires_grad or (loss.device.type == "cpu" and not bool(needed.any())):
        parts = [torch.zeros_like(leaf, dtype=torch.float32) for leaf in leaves]
    else:
        scale = _LOSS_SCALE if half else 1.0
        total = torch.where(loss.isfinite(), loss, 0.0).sum() * scale
        parts = [part.float() / scale for part in torch.autograd.grad(total, list(leaves))]
    return parts[0] if len(parts) == 1 and len(loss) == len(parts[0]) else torch.stack(parts)


def correct(
    direction: Tensor, loss: Tensor, needed: Tensor, prediction: Prediction, config: GuidanceConfig
) -> tuple[Tensor, CorrectionNorms]:
    """delta = eta grad_z L, or in mode "relative" a multiple of classifier-free guidance's own change along that gradient.

    Args:
        direction: grad_z L, in the shape of the prediction.

    Returns:
        The correction of the prediction, zero where anything is not finite, and its size.
    """
    steepness = norms(direction)
    if config.mode == "relative":
        delta = relative_correction(
            direction, steepness, config.strength, prediction.kind, prediction.combined, prediction.unconditional
        )
    else:
        delta = paper_correction(direction, config.strength, prediction.kind, prediction.alpha)
    delta = delta * needed.view_as(steepness)
    if config.rescale:
        delta = rescaled(delta, prediction.combined, prediction.channels)
    # In the output's precision: what is finite can be beyond its numbers.
    size = norms(delta.to(prediction.combined.dtype))
    finite = (loss + size.flatten()).isfinite()
    return torch.where(finite.view_as(size), delta, 0.0), CorrectionNorms(steepness.flatten(), size.flatten(), finite, needed)
