"""From a loss gradient to a correction of the denoiser's output, with the same meaning for every parametrisation.

The correction is defined on the predicted noise: eps_hat = eps + delta, with delta along +grad L, which moves the predicted
x0 down the loss (InfSplign, arXiv 2512.17851). With x = alpha x0 + sigma eps at a fixed x,

    v-prediction  v = alpha eps - sigma x0:  delta_v  = delta / alpha
    x0-prediction:                           delta_x0 = -delta sigma / alpha

Under flow matching, x = (1 - sigma) x0 + sigma eps with eps - x0 predicted, it is delta / alpha too, with alpha = 1 - sigma.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spatialguide.errors import UnsupportedPipelineError

_KNOWN_TYPES = "use a scheduler for epsilon, v_prediction or sample, or one of flow matching"
#: delta / alpha diverges at high noise, where alpha goes to zero.
MIN_ALPHA = 0.1
#: Without classifier-free guidance there is no eps_uncond; the usual size of the difference stands in for it.
NO_CFG_FRACTION = 0.1
#: Gradients of a norm below this are none.
_TINY = 1e-30


def norms(tensor: Tensor) -> Tensor:
    """Euclidean norm of each sample, shaped to broadcast over it, float32."""
    flat: Tensor = torch.linalg.vector_norm(tensor.float().flatten(1), dim=1)
    return flat.view(-1, *([1] * (tensor.ndim - 1)))


def paper_correction(gradient: Tensor, eta: float, prediction_type: str, alpha: float) -> Tensor:
    """eta * gradient, converted to the denoiser's output space.

    Args:
        gradient: of the loss with respect to the denoiser's input, (images, channels, height, width).
        eta: the paper's strength (1000).
        prediction_type: "epsilon", "v_prediction", "flow_prediction" or "sample".
        alpha: signal rate at this timestep, from `signal_rate`.
    """
    delta: Tensor = eta * gradient
    floored = max(alpha, MIN_ALPHA)
    if prediction_type == "epsilon":
        return delta
    if prediction_type in ("v_prediction", "flow_prediction"):
        return delta / floored
    if prediction_type == "sample":
        return -delta * (math.sqrt(1 - alpha**2) / floored)
    raise UnsupportedPipelineError(f"cannot guide a denoiser that predicts '{prediction_type}': {_KNOWN_TYPES}")


def relative_correction(
    gradient: Tensor, size: Tensor, fraction: float, prediction_type: str, combined: Tensor, unconditional: Tensor | None
) -> Tensor:
    """Correction with norm `fraction` * ||combined - unconditional||, per image.

    That is the given fraction of what classifier-free guidance itself adds, s ||eps_cond - eps_uncond||, so one number serves
    every scale. The conversion factor of the output space divides out: it scales the correction and the difference alike.

    Args:
        gradient: as in `paper_correction`; a zero gradient gives a zero correction. size: its `norms`.
        combined: what the pipeline is about to step with.
        unconditional: the prediction without the prompt; without it, where there is no classifier-free guidance or a model has
            learned to do without, NO_CFG_FRACTION of the prediction's own norm stands for the difference.
    """
    if prediction_type not in ("epsilon", "v_prediction", "flow_prediction", "sample"):
        raise UnsupportedPipelineError(f"cannot guide a denoiser that predicts '{prediction_type}': {_KNOWN_TYPES}")
    if unconditional is None:
        reference, fraction = norms(combined), fraction * NO_CFG_FRACTION
    else:
        reference = norms(combined.float() - unconditional.float())
    sign = -1.0 if prediction_type == "sample" else 1.0
    return gradient * (reference * (sign * fraction) / size.clamp(min=_TINY))


def rescaled(correction: Tensor, combined: Tensor, channels: int = 1) -> Tensor:
    """The correction that leaves mean and standard deviation of every image's channels as the prediction has them without it.

    A correction adds to the prediction's size, which shows as burnt colours and blotches. As the rescaling of classifier-free
    guidance does (Lin et al., arXiv 2305.08891, section 3.4), but channel by channel, and with the mean.

    Args:
        correction: (images, channels, height, width); a zero correction stays zero.
        combined: what the pipeline is about to step with.
        channels: which axis they are on.
    """
    axes = [axis for axis in range(1, combined.ndim) if axis != channels]
    kept, mean = torch.std_mean(combined.float(), dim=axes, keepdim=True)
    corrected = combined.float() + correction
    spread, shifted = torch.std_mean(corrected, dim=axes, keepdim=True)
    # Brought to the kept mean and deviation, less what was there before; a correction of zero leaves exactly nothing.
    change: Tensor = (corrected - shifted) * (kept / spread.clamp(min=1e-12)) - (combined.float() - mean)
    return change


def prediction_type_of(scheduler: Any) -> str:
    """What a denoiser under this scheduler predicts: "epsilon", "v_prediction", "sample", or "flow_prediction" (eps - x0)."""
    kind: str = getattr(scheduler, "config", {}).get("prediction_type", "epsilon")
    return "flow_prediction" if "FlowMatch" in type(scheduler).__name__ else kind


def signal_rate(scheduler: Any, timestep: float) -> float:
    """alpha at a timestep: sqrt(alphas_cumprod), or 1 - sigma under flow matching, whose timesteps are sigmas.

    Raises:
        UnsupportedPipelineError: the scheduler has no variance-preserving noise table.
    """
    if prediction_type_of(scheduler) == "flow_prediction":
        return 1 - timestep / float(scheduler.config.num_train_timesteps)
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None:
        raise UnsupportedPipelineError(
            f"mode 'paper' needs a scheduler with alphas_cumprod; {type(scheduler).__name__} has none: use mode 'relative'"
        )
    index = min(max(round(timestep), 0), len(table) - 1)
    return math.sqrt(float(table[index]))
