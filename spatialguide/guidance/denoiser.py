"""What the guidance step has to know of a diffusers pipeline: its denoiser, the shape of its calls, what cannot be guided."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spatialguide.errors import UnsupportedPipelineError

if TYPE_CHECKING:
    from spatialguide.config import GuidanceConfig
    from spatialguide.guidance.models import ModelFacts

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


@dataclass(frozen=True)
class CallOrder:
    """How a pipeline lays out the batch of one call of its denoiser.

    parts: as many equal parts. conditional, unconditional: which of them are those of classifier-free guidance, the second None
    without, and where it is a call of its own. separable: the parts can run one by one.
    """

    parts: int = 1
    conditional: int = 0
    unconditional: int | None = None
    separable: bool = True


def order_of(pipeline: Any, facts: ModelFacts, guided: bool) -> CallOrder:
    """The order of a call; guided: whether it holds classifier-free guidance's two parts."""
    if getattr(pipeline, "do_perturbed_attention_guidance", False):
        # Its processors cut the batch themselves: [unconditional, conditional, perturbed].
        return CallOrder(3, 1, 0, separable=False) if guided else CallOrder(2, separable=False)
    if not guided or facts.calls == "separate":
        return CallOrder()
    if "InstructPix2Pix" in type(pipeline).__name__:
        # [text and picture, picture alone, neither]: the text's share is the difference of the first two.
        return CallOrder(3, 0, 1)
    if facts.calls == "conditional first":
        return CallOrder(2, 0, 1)
    return CallOrder(2, 1, 0, facts.separable)


def prediction_of(output: Any) -> Any:
    """The prediction in a denoiser's output: a tensor, or a list of them where the denoiser gets a list."""
    return output[0] if isinstance(output, tuple) else getattr(output, "sample", output)


def with_prediction(output: Any, prediction: Any) -> Any:
    """The denoiser's output with another prediction in it."""
    return (prediction, *output[1:]) if isinstance(output, tuple) else type(output)(sample=prediction)


def joined(parts: Sequence[Any]) -> Any:
    """The predictions of a batch from those of its parts."""
    return [each for part in parts for each in part] if isinstance(parts[0], list) else torch.cat(list(parts))


def rows_of(value: Any, rows: slice, batch: int, lists: bool = False) -> Any:
    """The given samples of a call's arguments, through nested dicts and sequences.

    lists: a list of as many items as there are samples holds one for each.
    """
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and value.shape[0] == batch else value
    if isinstance(value, dict):
        return {key: rows_of(item, rows, batch, lists) for key, item in value.items()}
    if lists and isinstance(value, list) and len(value) == batch:
        return value[rows]
    if isinstance(value, (tuple, list)):
        return type(value)(rows_of(item, rows, batch, lists) for item in value)
    return value


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
    if not hasattr(denoiser, "named_modules"):
        raise UnsupportedPipelineError(f"{name} has a denoiser that is no torch module: it cannot be guided")
    _refuse_hooks(denoiser)
    if _is_compiled(denoiser_of(pipeline)) and not hasattr(torch.compiler, "set_stance"):
        raise UnsupportedPipelineError("guiding a compiled denoiser needs torch 2.6 or newer: upgrade, or do not compile it")


def _refuse_hooks(denoiser: nn.Module) -> None:
    for module in denoiser.modules():
        if getattr(getattr(module, "processor", None), "_parallel_config", None) is not None:
            raise UnsupportedPipelineError(
                "context parallelism splits the pixels over devices, so that no layer sees a whole map: guide without it"
            )


def no_gradients(denoiser: nn.Module) -> str | None:
    """Why no gradient can be had of a call of the denoiser, and what to do about it; None where it can."""
    if torch.is_inference_mode_enabled():
        return "torch.inference_mode() allows no gradients: use torch.no_grad() in its place"
    for module in denoiser.modules():
        registry = getattr(module, "_diffusers_hook", None)
        for hook, remedy in _SWAPPING.items():
            if registry is not None and registry.get_hook(hook) is not None:
                return f"{hook.replace('_', ' ')} takes the weights away before the backward: {remedy}"
    return None


def resolved(config: GuidanceConfig, denoiser: nn.Module) -> tuple[GuidanceConfig, str | None]:
    """A configuration with method "auto" replaced by what can run, and why that is no better one.

    Raises:
        UnsupportedPipelineError: gradients are asked for, and cannot be had.
    """
    fault = None if config.method == "bias" else no_gradients(denoiser)
    if config.method == "auto":
        return config.model_copy(update={"method": "bias" if fault else "both"}), fault
    if fault is not None:
        raise UnsupportedPipelineError(f"{fault}; or guide by bias, which needs none (guidance.method: bias)")
    return config, None


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
