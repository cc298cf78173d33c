"""The correction means the same under every scheduler: the same change of the predicted x0 at the same noise level."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError
from spatialguide.models.schedulers import described, make_scheduler
from spatialguide.scenes.records import scene_from_triples

PROMPT = "a cat to the left of a dog"
SCENE = scene_from_triples(PROMPT, [("cat", "left_of", "dog")])
#: By the name that people know: diffusers' class, and its options.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPM": ("DDPMScheduler", {}),
    "DDIM": ("DDIMScheduler", {}),
    "PNDM": ("PNDMScheduler", {"skip_prk_steps": True}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {}),
    "DEIS": ("DEISMultistepScheduler", {}),
}
#: With trailing spacing and ten steps every scheduler visits it.
TIMESTEP = 499
#: Karras' noise levels are others, so its timesteps are too.
COMPARED = sorted(SCHEDULERS.keys() - {"DPM++ 2M Karras"})


def predicted_x0(scheduler: Any, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """By the scheduler's own conversion where it has one; a copy of it, since a step changes it."""
    scheduler = deepcopy(scheduler)
    if hasattr(scheduler, "convert_model_output"):
        scheduler._init_step_index(timestep)
        converted = scheduler.convert_model_output(output, sample=sample)
        if getattr(scheduler.config, "algorithm_type", "") != "deis":
            return converted
    elif type(scheduler).__name__ != "PNDMScheduler":
        found = scheduler.step(output, timestep, sample)
        if getattr(found, "pred_original_sample", None) is not None:
            return found.pred_original_sample
    alpha = scheduler.alphas_cumprod[int(timestep)]
    if scheduler.init_noise_sigma > 1.5:  # Heun, in sigma space
        return sample - ((1 - alpha) / alpha).sqrt() * output
    return (sample - (1 - alpha).sqrt() * output) / alpha.sqrt()


def change(pipeline: StableDiffusionPipeline, name: str, mode: str) -> torch.Tensor:
    """Change of the predicted x0 by one guided call, from the same noised picture as the denoiser sees it."""
    kind, options = SCHEDULERS[name]
    spacing = {} if kind == "LCMScheduler" else {"timestep_spacing": "trailing"}
    scheduler = make_scheduler(kind, pipeline.scheduler, {**options, **spacing})
    scheduler.set_timesteps(10)
    at = scheduler.timesteps[(scheduler.timesteps - TIMESTEP).abs().argmin()]
    assert abs(float(at) - TIMESTEP) < 1
    seen = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    # What the scheduler hands on is its sample, scaled: start from the same scaled one.
    sample = seen / scheduler.scale_model_input(torch.ones(1), at)
    scheduler._step_index = None
    pipeline.scheduler, pipeline._guidance_scale, pipeline._num_timesteps = scheduler, 5.0, len(scheduler.timesteps)
    text = torch.randn(2, 77, 32, generator=torch.Generator().manual_seed(1))
    guidance: dict[str, Any] = {
        "relative": {"mode": "relative", "strength": 1.0},
        "paper": {"mode": "paper", "strength": 1000.0},
    }[mode]
    guide = SpatialGuide(guidance={"window": (0.0, 1.0), "settle": False, **guidance})

    def combined() -> torch.Tensor:
        with torch.no_grad():
            parts = pipeline.unet(seen.repeat(2, 1, 1, 1), at, encoder_hidden_states=text, return_dict=False)[0]
        unconditional, conditional = parts.chunk(2)
        return scheduler.step(unconditional + 5.0 * (conditional - unconditional))

    scheduler.step = lambda prediction: prediction
    plain = combined()
    with guide.attach(pipeline, PROMPT, scene=SCENE) as trace:
        guided = combined()
    assert len(trace.steps) == 1
    del scheduler.step
    before, after = (predicted_x0(scheduler, output, at, sample) for output in (plain, guided))
    return after - before


@pytest.mark.parametrize("mode", ["relative", "paper"])
@pytest.mark.parametrize("name", [name for name in COMPARED if name != "DDIM"])
def test_the_change_of_x0_is_the_same(random_pipeline: StableDiffusionPipeline, name: str, mode: str) -> None:
    reference = change(random_pipeline, "DDIM", mode)
    assert reference.norm() > 0
    found = change(random_pipeline, name, mode)
    assert torch.allclose(found, reference, atol=1e-3 * float(reference.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_runs_guided(random_pipeline: StableDiffusionPipeline, name: str) -> None:
    kind, options = SCHEDULERS[name]
    random_pipeline.scheduler = make_scheduler(kind, random_pipeline.scheduler, options)
    with SpatialGuide().attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        latents = random_pipeline(
            PROMPT, num_inference_steps=4, height=64, width=64, output_type="latent", generator=torch.Generator().manual_seed(0)
        ).images
    assert latents.isfinite().all()
    assert trace.steps
    assert trace.skipped == 0


def test_wrong_names_and_options_are_named(random_pipeline: StableDiffusionPipeline) -> None:
    current = random_pipeline.scheduler
    with pytest.raises(ConfigError, match="draws its noise without the seed: take DPMSolverMultistepScheduler"):
        make_scheduler("DPMSolverSDE", current, {})
    with pytest.raises(ConfigError, match="diffusers has no scheduler 'Eular'"):
        make_scheduler("Eular", current, {})
    with pytest.raises(ConfigError, match="EulerDiscreteScheduler has no option 'karras'"):
        make_scheduler("EulerDiscrete", current, {"karras": True})
    with pytest.raises(ConfigError, match="DDIMScheduler cannot be built with these options: number of steps"):
        make_scheduler("DDIM", current, {"num_train_timesteps": -5})


def test_a_picture_says_what_its_scheduler_was() -> None:
    """Also what the model brings with it, and values that JSON has no form for."""
    guide = SpatialGuide(steps=1, scheduler="EulerDiscrete", scheduler_options={"timestep_spacing": "trailing"})
    found = guide("a cat above a dog").metadata[0]["scheduler"]
    assert (found["class"], found["timestep_spacing"]) == ("EulerDiscreteScheduler", "trailing")
    assert found["beta_schedule"] == guide.pipeline.scheduler.config.beta_schedule
    betas = make_scheduler("DDIM", guide.pipeline.scheduler, {"trained_betas": np.linspace(0.1, 0.2, 3)})
    assert json.dumps(described(betas))
