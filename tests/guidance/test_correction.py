from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from spatialguide.errors import UnsupportedPipelineError
from spatialguide.guidance.correction import (
    MIN_ALPHA,
    NO_CFG_FRACTION,
    norms,
    paper_correction,
    relative_correction,
    rescaled,
    signal_rate,
)

GENERATOR = torch.Generator().manual_seed(0)
X0, NOISE, GRADIENT = (torch.randn(2, 4, 8, 8, generator=GENERATOR) for _ in range(3))
ALPHA, SIGMA = 0.6, 0.8
SAMPLE = ALPHA * X0 + SIGMA * NOISE
VELOCITY = ALPHA * NOISE - SIGMA * X0


def x0_of(kind: str, output: torch.Tensor) -> torch.Tensor:
    """Predicted x0 from a denoiser's output at a fixed sample."""
    if kind == "epsilon":
        return (SAMPLE - SIGMA * output) / ALPHA
    if kind == "v_prediction":
        return ALPHA * SAMPLE - SIGMA * output
    return output


@pytest.mark.parametrize(("kind", "output"), [("epsilon", NOISE), ("v_prediction", VELOCITY), ("sample", X0)])
def test_every_parametrisation_moves_x0_by_the_same(kind: str, output: torch.Tensor) -> None:
    moved = x0_of(kind, output + paper_correction(GRADIENT, 2.0, kind, ALPHA))
    assert torch.allclose(moved, X0 - SIGMA / ALPHA * 2.0 * GRADIENT, atol=1e-5)


@pytest.mark.parametrize(("kind", "factor"), [("epsilon", 1.0), ("v_prediction", 1 / ALPHA), ("sample", -SIGMA / ALPHA)])
def test_relative_strength_means_the_same_everywhere(kind: str, factor: float) -> None:
    """||delta_eps|| is the given fraction of what classifier-free guidance adds, whatever space the two are predicted in."""
    difference = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    output = relative_correction(GRADIENT, norms(GRADIENT), 0.5, kind, X0 + 7.5 * factor * difference, X0)
    in_epsilon = output / factor
    assert torch.allclose(norms(in_epsilon), 0.5 * 7.5 * norms(difference), rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(in_epsilon.flatten(1), GRADIENT.flatten(1)).min() > 0.9999


def test_relative_strength_without_classifier_free_guidance() -> None:
    output = relative_correction(GRADIENT, norms(GRADIENT), 0.5, "epsilon", NOISE, None)
    assert torch.allclose(norms(output), 0.5 * NO_CFG_FRACTION * norms(NOISE), rtol=1e-4)


def test_zero_gradient_gives_zero_correction() -> None:
    nothing = torch.zeros_like(X0)
    assert not relative_correction(nothing, norms(nothing), 5.0, "epsilon", X0, NOISE).any()


def test_velocity_correction_is_bounded_at_high_noise() -> None:
    assert torch.equal(
        paper_correction(GRADIENT, 1.0, "v_prediction", 1e-6),
        paper_correction(GRADIENT, 1.0, "v_prediction", MIN_ALPHA),
    )


@pytest.mark.parametrize(
    "correct", [lambda: paper_correction(X0, 1, "flow", 1), lambda: relative_correction(X0, norms(X0), 1, "flow", X0, X0)]
)
def test_other_parametrisations_are_refused(correct) -> None:
    with pytest.raises(UnsupportedPipelineError, match="predicts 'flow'"):
        correct()


def test_signal_rate_agrees_between_schedulers() -> None:
    ddim, euler = DDIMScheduler(), EulerDiscreteScheduler()
    assert signal_rate(ddim, 500) == pytest.approx(float(ddim.alphas_cumprod[500]) ** 0.5)
    assert signal_rate(euler, 500.2) == pytest.approx(signal_rate(ddim, 500))


def test_signal_rate_needs_a_noise_table() -> None:
    with pytest.raises(UnsupportedPipelineError, match="use mode 'relative'"):
        signal_rate(object(), 3)


def test_packed_latents_have_their_channels_last() -> None:
    packed, added = (each.flatten(2).transpose(1, 2) for each in (NOISE, GRADIENT))
    found = rescaled(added, packed, channels=2)
    torch.testing.assert_close(found, rescaled(GRADIENT, NOISE).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_a_rescaled_correction_keeps_mean_and_deviation_of_every_channel(scale: float) -> None:
    combined = NOISE + scale * (X0 - NOISE)
    added = combined + rescaled(3 * GRADIENT + 1, combined)
    torch.testing.assert_close(added.mean(dim=(2, 3)), combined.mean(dim=(2, 3)))
    torch.testing.assert_close(added.std(dim=(2, 3)), combined.std(dim=(2, 3)))
    assert (added - combined).norm() > GRADIENT.norm()
    # Nothing stays nothing, to the last bit, also beside other images, and for a prediction without any detail.
    assert not rescaled(torch.zeros_like(X0), combined).any()
    assert not rescaled(torch.zeros_like(X0), torch.ones_like(X0)).any()
