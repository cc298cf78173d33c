"""The method on one screen: attention maps -> statistics -> loss terms -> gradient -> corrected prediction.

InfSplign (arXiv 2512.17851): eps_hat = eps_uncond + s (eps_cond - eps_uncond) + eta grad_z L. Classifier-free guidance is
affine, so that a correction added to both predictions moves the combined one by exactly that, whatever the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spatialguide.config import GuidanceConfig
from spatialguide.guidance.correction import norms, paper_correction, relative_correction, rescaled
from spatialguide.guidance.losses import unmet, weighted_sum
from spatialguide.guidance.ranking import MARGIN
from spatialguide.guidance.scene_batch import SceneBatch
from spatialguide.guidance.statistics import LayerMaps, object_statistics
from spatialguide.guidance.trace import CorrectionNorms, GroupRecord

#: Half-precision gradients underflow: the loss is scaled up, and the gradient down again.
_LOSS_SCALE = 2.0**10


@dataclass(frozen=True)
class DenoiserCall:
    """What the step needs of one call of the denoiser.

    sample: what it received for the conditional part, (images, channels, height, width), a leaf of the graph.
    conditional, unconditional: its predictions, without channels that are no latents (a predicted variance).
    guidance_scale: s. prediction_type, alpha: see `correction`. half: it ran in half precision.
    """

    sample: Tensor
    conditional: Tensor
    unconditional: Tensor | None
    guidance_scale: float
    prediction_type: str
    alpha: float
    half: bool


@dataclass(frozen=True)
class Scores:
    """What the maps say, (images,). loss: L; needed: how much of the correction for one relation; holds: whether all hold."""

    loss: Tensor
    needed: Tensor
    holds: Tensor | None
    groups: tuple[GroupRecord, ...]


def score(maps: Sequence[LayerMaps], batch: SceneBatch, config: GuidanceConfig, ranked: bool, watched: bool) -> Scores:
    """L = sum_k weight_k term_k(statistics), images of one structure as one tensor.

    Args:
        maps: per layer, (images, objects, height, width).
    """
    losses, needed, holds, records = [], [], [], []
    margin = MARGIN if config.settle else None
    for group in batch.groups:
        scene, names = group.scene.structure, [term.name for term in group.terms]
        statistics = object_statistics(group.of(maps), scene, config.map_size)  # (images, layers, objects)
        loss, values = weighted_sum(group.terms, statistics, group.scene, config.average)  # (images,)
        distances = statistics.distances.detach().mean(dim=1)  # (images, relations)
        losses.append(loss)
        relative = config.mode == "relative"
        needed.append(unmet(distances, scene.reach, margin) if relative else torch.ones_like(loss))
        if config.patience is not None:
            holds.append(unmet(distances, scene.reach, MARGIN) <= 0)
        records.append(GroupRecord.of(group.rows, names, statistics, scene, loss, values, ranked, watched))
    return Scores(batch.joined(losses), batch.joined(needed), batch.joined(holds) if holds else None, tuple(records))


def correct(scores: Scores, needed: Tensor, call: DenoiserCall, config: GuidanceConfig) -> tuple[Tensor, CorrectionNorms]:
    """delta = eta grad_z L, or in mode "relative" a multiple of classifier-free guidance's own change along that gradient.

    Args:
        needed: how much of it each image needs, (images,).

    Returns:
        The correction of the predictions, (images, channels, height, width), zero where anything is not finite, and its size.
    """
    predictions = (call.conditional, call.unconditional, call.guidance_scale)
    gradient = _gradient(scores.loss, needed, call)
    steepness = norms(gradient)
    if config.mode == "relative":
        delta = relative_correction(gradient, steepness, config.strength, call.prediction_type, *predictions)
    else:
        delta = paper_correction(gradient, config.strength, call.prediction_type, call.alpha)
    delta = delta * needed.view_as(steepness)
    if config.rescale:
        delta = rescaled(delta, *predictions)
    # In the output's precision: what is finite can be beyond its numbers.
    size = norms(delta.to(call.conditional.dtype))
    finite = (scores.loss + size.flatten()).isfinite()
    return torch.where(finite.view_as(size), delta, 0.0), CorrectionNorms(steepness.flatten(), size.flatten(), finite)


def _gradient(loss: Tensor, needed: Tensor, call: DenoiserCall) -> Tensor:
    """d sum(L) / dz, float32; an image whose loss is not finite must not spoil the others."""
    channels = call.conditional.shape[1]  # inpainting models append a mask and a masked image to the latents
    # Only on the CPU is it free to ask whether there is anything to do.
    if not loss.requires_grad or (loss.device.type == "cpu" and not bool(needed.any())):
        return torch.zeros_like(call.sample[:, :channels], dtype=torch.float32)
    scale = _LOSS_SCALE if call.half else 1.0
    total = torch.where(loss.isfinite(), loss, 0.0).sum() * scale
    (gradient,) = torch.autograd.grad(total, call.sample)
    return gradient[:, :channels].float() / scale
