"""What the guidance step has to know of a diffusers pipeline: its denoiser, the shape of its calls, what cannot be guided."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from spatialguide.errors import UnsupportedPipelineError
from spatialguide.guidance.tokens import encodings

#: Transformers that were tried. Others turn their queries and keys (rotary embeddings), or read the text in other ways.
TRANSFORMERS = ("PixArtTransformer2DModel", "SD3Transformer2DModel")
#: Denoisers of video.
_FRAMES = ("UNetMotionModel", "UNet3DConditionModel", "UNetSpatioTemporalConditionModel", "I2VGenXLUNet")
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
        f"{type(pipeline).__name__} has no unet and no transformer: it cannot be guided; "
        "give a pipeline such as StableDiffusionPipeline or StableDiffusionXLPipeline"
    )


def plain(denoiser: Any) -> nn.Module:
    """The denoiser itself, without the wrapper that torch.compile() puts around it."""
    module: nn.Module = getattr(denoiser, "_orig_mod", denoiser)
    return module


def sample_name(denoiser: nn.Module) -> str:
    """What the denoiser's forward calls the noisy latents."""
    return "sample" if "sample" in inspect.signature(type(denoiser).forward).parameters else "hidden_states"


@dataclass(frozen=True)
class CallOrder:
    """How a pipeline lays out the batch of one call of its denoiser.

    parts: as many equal parts. conditional, unconditional: which of them are those of classifier-free guidance, the second None
    without. separable: the parts can run one by one.
    """

    parts: int
    conditional: int
    unconditional: int | None
    separable: bool = True


def order_of(pipeline: Any, call: Mapping[str, Any], sample: str, scenes: int = 1, scale: float | None = None) -> CallOrder:
    """The order of a call.

    PixArt's pipelines do not say whether they use classifier-free guidance. There the guidance scale tells; where it is not
    given, two halves of the same latents with different texts are two parts, if the scenes divide them.
    """
    guided = _is_guided(pipeline, call, sample, scenes, scale)
    if getattr(pipeline, "do_perturbed_attention_guidance", False):
        # Its processors cut the batch themselves: [unconditional, conditional, perturbed].
        return CallOrder(3, 1, 0, separable=False) if guided else CallOrder(2, 0, None, separable=False)
    if "InstructPix2Pix" in type(pipeline).__name__ and guided:
        # [text and picture, picture alone, neither]: the text's share is the difference of the first two.
        return CallOrder(3, 0, 1)
    return CallOrder(2, 1, 0) if guided else CallOrder(1, 0, None)


def _is_guided(pipeline: Any, call: Mapping[str, Any], sample: str, scenes: int, scale: float | None) -> bool:
    if hasattr(type(pipeline), "do_classifier_free_guidance"):
        return bool(pipeline.do_classifier_free_guidance)
    if scale is not None:
        return scale > 1
    if call[sample].shape[0] % (2 * scenes):
        return False
    same_latents, same_text = (torch.equal(*call[name].chunk(2)) for name in (sample, "encoder_hidden_states"))
    return same_latents and not same_text


def prediction_of(output: Any) -> Tensor:
    """The prediction in a denoiser's output."""
    found: Tensor = output[0] if isinstance(output, tuple) else output.sample
    return found


def with_prediction(output: Any, prediction: Tensor) -> Any:
    """The denoiser's output with another prediction in it."""
    return (prediction, *output[1:]) if isinstance(output, tuple) else type(output)(sample=prediction)


def rows_of(value: Any, rows: slice, batch: int) -> Any:
    """The given samples of a call's arguments, through nested dicts and sequences."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and value.shape[0] == batch else value
    if isinstance(value, dict):
        return {key: rows_of(item, rows, batch) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(rows_of(item, rows, batch) for item in value)
    return value


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
    if hasattr(pipeline, "get_views"):
        raise UnsupportedPipelineError(
            f"{name} denoises several views in one step, each with objects of its own: it cannot be guided; "
            "draw with the model's text-to-image pipeline"
        )
    if type(denoiser).__name__ in _FRAMES:
        raise UnsupportedPipelineError(
            f"{name} denoises several frames in one step: it cannot be guided; draw pictures with the model's own UNet"
        )
    known = any(kind.__name__ in TRANSFORMERS for kind in type(denoiser).__mro__)
    if getattr(pipeline, "unet", None) is None and not known:
        raise UnsupportedPipelineError(
            f"{name}: of the transformers only PixArt's and Stable Diffusion 3's can be guided, not {type(denoiser).__name__}; "
            "use one of these, or a pipeline with a UNet"
        )
    if not known and not hasattr(type(pipeline), "do_classifier_free_guidance"):
        raise UnsupportedPipelineError(
            f"{name} does not say whether it uses classifier-free guidance: it cannot be guided; the same model can in "
            "StableDiffusionPipeline, StableDiffusionXLPipeline and their image-to-image, inpainting and ControlNet kin"
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
