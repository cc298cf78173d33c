"""What the guidance step has to know of a diffusers pipeline: its denoiser, the shape of its calls, what cannot be guided."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from spatialguide.binding import encodings
from spatialguide.errors import UnsupportedPipelineError

#: Transformers that were tried. Others turn their queries and keys (rotary embeddings), or read the text in other ways.
TRANSFORMERS = ("PixArtTransformer2DModel", "SD3Transformer2DModel")
#: diffusers' hooks that swap weights between forward and backward, with what to use in their place.
_SWAPPING = {
    "layerwise_casting": "load the model in float16 or bfloat16 in place of enable_layerwise_casting()",
    "group_offloading": "use enable_model_cpu_offload() in place of enable_group_offload()",
}


def denoiser_of(pipeline: Any) -> nn.Module:
    """The module that predicts the noise, as the pipeline calls it: its unet, else its transformer.

    Raises:
        UnsupportedPipelineError: it has neither.
    """
    for name in ("unet", "transformer"):
        if getattr(pipeline, name, None) is not None:
            denoiser: nn.Module = getattr(pipeline, name)
            return denoiser
    raise UnsupportedPipelineError(
        f"{type(pipeline).__name__} has no unet and no transformer: it cannot be guided; give a diffusers pipeline"
    )


def plain(denoiser: Any) -> nn.Module:
    """The denoiser itself, without the wrapper that torch.compile() puts around it."""
    module: nn.Module = getattr(denoiser, "_orig_mod", denoiser)
    return module


def sample_name(denoiser: nn.Module) -> str:
    """What the denoiser's forward calls the noisy latents."""
    return "sample" if "sample" in inspect.signature(type(denoiser).forward).parameters else "hidden_states"


def parts_of(pipeline: Any, call: Mapping[str, Any], sample: str, scenes: int = 1, scale: float | None = None) -> int:
    """How many parts the batch of a call has: with classifier-free guidance two, without it one.

    PixArt's pipelines do not say. There the guidance scale tells; where it is not given, two halves of the same latents with
    different texts are two parts, if the scenes divide them.

    Raises:
        UnsupportedPipelineError: the batch is of another kind.
    """
    if getattr(pipeline, "do_perturbed_attention_guidance", False):
        raise UnsupportedPipelineError(
            "perturbed-attention guidance needs its whole batch in one call: set pag_scale=0 to use spatial guidance"
        )
    if hasattr(type(pipeline), "do_classifier_free_guidance"):
        return 2 if pipeline.do_classifier_free_guidance else 1
    if scale is not None:
        return 2 if scale > 1 else 1
    if call[sample].shape[0] % (2 * scenes):
        return 1
    same_latents, same_text = (torch.equal(*call[name].chunk(2)) for name in (sample, "encoder_hidden_states"))
    return 2 if same_latents and not same_text else 1


def guidance_scale_of(pipeline: Any) -> float:
    """Classifier-free guidance's scale in the running call; the call's default where the pipeline does not say (PixArt)."""
    scale = getattr(pipeline, "guidance_scale", None)
    if scale is None:
        scale = inspect.signature(type(pipeline).__call__).parameters["guidance_scale"].default
    return float(scale)


def cleans_away(pipeline: Any, prompt: str) -> bool:
    """Whether the pipeline's cleaning of captions (PixArt's; needs two packages) changes more of a prompt than its case."""
    clean = getattr(pipeline, "_clean_caption", None)
    if clean is None or not all(find_spec(package) for package in ("bs4", "ftfy")):
        return False
    # The pipelines clean twice.
    return bool(clean(clean(prompt)) != prompt.lower().strip())


def refuse_unsupported(pipeline: Any) -> None:
    """Raise UnsupportedPipelineError for what is known not to work, with what to do instead."""
    name = type(pipeline).__name__
    denoiser = plain(denoiser_of(pipeline))
    if getattr(pipeline, "scheduler", None) is None:
        raise UnsupportedPipelineError(f"{name} has no scheduler: it cannot be guided; load a whole pipeline")
    if "InstructPix2Pix" in name:
        raise UnsupportedPipelineError(
            f"{name} splits its batch in three parts of its own kind: it cannot be guided; use another pipeline of the model"
        )
    known = any(kind.__name__ in TRANSFORMERS for kind in type(denoiser).__mro__)
    if getattr(pipeline, "unet", None) is None and not known:
        raise UnsupportedPipelineError(
            f"{name}: of the transformers only PixArt's and Stable Diffusion 3's can be guided, not {type(denoiser).__name__}; "
            "use one of these, or a pipeline with a UNet"
        )
    if not known and not hasattr(type(pipeline), "do_classifier_free_guidance"):
        raise UnsupportedPipelineError(
            f"{name} does not say whether it uses classifier-free guidance: it cannot be guided; use a diffusers pipeline"
        )
    if not encodings(pipeline):
        raise UnsupportedPipelineError(f"{name} has no tokenizer to bind the prompt's objects with: load it with one")
    _refuse_hooks(denoiser)
    if _is_compiled(denoiser_of(pipeline)) and not hasattr(torch.compiler, "set_stance"):
        raise UnsupportedPipelineError("guiding a compiled denoiser needs torch 2.6 or newer: upgrade, or do not compile it")


def _refuse_hooks(denoiser: nn.Module) -> None:
    for module in denoiser.modules():
        registry = getattr(module, "_diffusers_hook", None)
        for hook, remedy in _SWAPPING.items():
            if registry is not None and registry.get_hook(hook) is not None:
                raise UnsupportedPipelineError(f"{hook.replace('_', ' ')} takes the weights away before the backward: {remedy}")


class EagerCalls:
    """Runs compiled modules as plain ones while any guided call of the process is under way.

    torch's stance is one for the whole process, so threads share a count.
    """

    _lock = threading.Lock()
    _count = 0
    _stance: Any = None

    @classmethod
    def start(cls) -> None:
        """One more guided call of a compiled denoiser."""
        with cls._lock:
            if cls._count == 0:
                cls._stance = torch.compiler.set_stance("force_eager")
            cls._count += 1

    @classmethod
    def stop(cls) -> None:
        """One less."""
        with cls._lock:
            cls._count -= 1
            if cls._count == 0:
                cls._stance.__exit__(None, None, None)


@contextmanager
def compiled_calls_suspended(denoiser: nn.Module) -> Iterator[bool]:
    """Inside, a denoiser compiled in place (`denoiser.compile()`) is called as it is, since torch would trace our hooks.

    Yields whether anything in it is compiled, so that guided calls have to be `EagerCalls`.
    """
    compiled = _is_compiled(denoiser)
    inner = plain(denoiser)
    in_place: Any = inner._compiled_call_impl
    inner._compiled_call_impl = None
    try:
        yield compiled
    finally:
        inner._compiled_call_impl = in_place


def _is_compiled(denoiser: nn.Module) -> bool:
    return any(
        "_orig_mod" in module._modules
        or module._compiled_call_impl is not None
        or hasattr(module.forward, "_torchdynamo_orig_callable")
        for module in denoiser.modules()
    )
