"""What differs between denoisers, as data: one row for each, which plugins register."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor, nn

from spatialguide.errors import UnsupportedPipelineError, UntestedModelWarning
from spatialguide.guidance import tokens
from spatialguide.guidance.attention import Places
from spatialguide.guidance.tokens import Encoding
from spatialguide.registry import Registry, default_registry

#: By a third to a half of a transformer's depth the layout is there, and what follows needs no graph.
MIDDLE = (1 / 3, 5 / 12, 1 / 2)


@dataclass(frozen=True)
class ModelFacts:
    """How a kind of denoiser is called, and where in it pixels attend to text.

    Attributes:
        denoiser: name of its class; classes derived from it are of its kind.
        models: those that people know it from.
        layers: pattern of the names of its attention layers in which pixels attend to text, among which those to observe are
            chosen.
        steered: pattern of the layers whose attention a bias steers; by default the same.
        depths: which of them are observed, as fractions of their number; empty for a UNet's decoder.
        text: where the text's tokens are: "apart" (keys of their own, cross-attention), "before" or "after" the pixels'.
        latents: how the denoiser gets them: "channels first" (images, channels, height, width), "channels last" (images,
            frames, height, width, channels), "packed" (images, pixels, channels), or a "list" of (channels, frames, height,
            width).
        calls: "batch": one call for classifier-free guidance, [unconditional, conditional]; "conditional first": the same the
            other way round; "separate": a call each, the conditional one first.
        separable: the parts of a batch can run one by one.
        time: what the denoiser gets for the scheduler's timestep t.
        negated: the pipeline hands the scheduler the prediction with its sign changed.
        multiple: pixels and text are each padded to a multiple of it.
        registers: parameter that holds further tokens before the text.
        padded: attribute of the denoiser with the number of pixels to which a picture that is not square is padded.
        lengths: argument with a mask, where each image's pixels follow its own number of text tokens.
        reads: from the pipeline and the arguments of its text encoding to the stretches of text that the denoiser sees.
        tried: how it was tested.
    """

    denoiser: str
    models: str
    layers: str
    depths: tuple[float, ...] = MIDDLE
    text: Literal["apart", "before", "after"] = "apart"
    latents: Literal["channels first", "channels last", "packed", "list"] = "channels first"
    calls: Literal["batch", "conditional first", "separate"] = "batch"
    separable: bool = True
    time: Literal["t", "t / 1000", "1 - t / 1000"] = "t"
    negated: bool = False
    multiple: int = 1
    registers: str | None = None
    padded: str | None = None
    lengths: str | None = None
    reads: Callable[[Any, Mapping[str, Any]], list[Encoding]] = tokens.shared
    steered: str | None = None
    tried: str = "random weights"

    def described(self) -> dict[str, Any]:
        """The row as plain data."""
        return {**asdict(self), "reads": self.reads.__name__}

    def argument(self, denoiser: nn.Module, *names: str) -> str:
        """The first of the names that the denoiser's forward has."""
        parameters = inspect.signature(type(denoiser).forward).parameters
        return next(name for name in names if name in parameters)

    def latents_name(self, denoiser: nn.Module) -> str:
        """What the denoiser's forward calls the noisy latents."""
        return self.argument(denoiser, "sample", "hidden_states", "x")

    def timestep(self, denoiser: nn.Module, call: Mapping[str, Any]) -> Any:
        """The scheduler's timestep of a call."""
        given = call[self.argument(denoiser, "timestep", "timesteps", "t")]
        scale = getattr(getattr(denoiser, "config", None), "timestep_scale", 1.0)
        if scale != 1:
            return given / scale
        return {"t": given, "t / 1000": given * 1000, "1 - t / 1000": 1000 - given * 1000}[self.time]

    def size(self, denoiser: nn.Module, call: Mapping[str, Any], sample: Any) -> tuple[int, int]:
        """(height, width) of the latents, or of the grid of pixels where they come packed."""
        if self.latents == "packed":
            shapes = call.get("img_shapes")
            return _packed_size(call["img_ids"]) if shapes is None else _shape_of(shapes)
        if self.latents == "channels last":
            return sample.shape[-3], sample.shape[-2]
        first = sample[0] if self.latents == "list" else sample
        return first.shape[-2], first.shape[-1]

    def places(self, denoiser: nn.Module, call: Mapping[str, Any], sample: Any, images: int) -> Places:
        """Where the pixels and the text of a call stand among the tokens of the observed layers."""
        size = self.size(denoiser, call, sample)
        if self.text == "apart":
            return Places(size, joint=False)
        if self.latents != "packed":
            patch = _patch_size(denoiser)
            size = (size[0] // patch, size[1] // patch)
        if self.text == "after":
            square = self.padded is None or size[0] == size[1]
            pixels = size[0] * size[1] if square else getattr(denoiser, str(self.padded))
            return Places(size, text=(pixels + -pixels % self.multiple,) * images)
        length: int = call["encoder_hidden_states"].shape[1]
        before = 0 if self.registers is None else getattr(denoiser, self.registers).shape[1]
        starts = (before + length,) * images
        if self.lengths is not None:
            starts = tuple(call[self.lengths].sum(dim=1).tolist())
        return Places(size, text=(before,) * images, pixels=starts, length=length)


def _shape_of(shapes: Any) -> tuple[int, int]:
    """Height and width of the generated image, the first (frames, height, width) in a call's img_shapes."""
    first = shapes[0] if isinstance(shapes[0][0], int) else shapes[0][0]
    return first[-2], first[-1]


def _packed_size(ids: Tensor) -> tuple[int, int]:
    """Height and width from the (time, height, width, ...) of each pixel; pictures to edit have other times."""
    ids = ids[0] if ids.ndim == 3 else ids
    own = ids[ids[:, 0] == ids[0, 0]]
    height, width = (own[:, axis].max() + 1 for axis in (1, 2))
    return int(height), int(width)


def _patch_size(denoiser: nn.Module) -> int:
    config: Any = denoiser.config
    patch = getattr(config, "patch_size", None) or config.all_patch_size
    return patch if isinstance(patch, int) else patch[-1]


def facts_of(denoiser: nn.Module, registry: Registry | None = None) -> ModelFacts:
    """What is registered of a denoiser or its base class; else, with a warning, what its forward and layers' names suggest.

    Raises:
        UnsupportedPipelineError: nothing is known of it, and it has no layers of the usual names.
    """
    registry = registry or default_registry()
    known = registry.names("models")
    for kind in type(denoiser).__mro__:
        if kind.__name__ in known:
            facts: ModelFacts = registry.get("models", kind.__name__)
            return facts
    return _guessed(denoiser)


#: What attention layers are called in most models, and those among them whose text has keys of its own.
_USUAL = r"(.*_)?(blocks|layers)\.\d+(\._orig_mod)?(\.block)?\."
_APART, _JOINT = rf"{_USUAL}(attn2|cross_attention|cross_attn)", rf"{_USUAL}(attn|attn1|attention)"


def _guessed(denoiser: nn.Module) -> ModelFacts:
    kind = type(denoiser).__name__
    names = [name for name, module in denoiser.named_modules() if hasattr(module, "processor")]
    layers = next((each for each in (_APART, _JOINT) if any(re.fullmatch(each, name) for name in names)), None)
    if layers is None:
        raise UnsupportedPipelineError(
            f"nothing is known of the denoiser {kind}, and it has no attention layers of the usual names: use one that "
            "`spatialguide models` lists, or register what it is like (docs/plugins.md)"
        )
    packed = bool({"img_ids", "img_shapes"} & inspect.signature(type(denoiser).forward).parameters.keys())
    warnings.warn(
        f"{kind} is not one of the models that were tried (`spatialguide models`): its text is taken to be "
        f"{'apart from' if layers == _APART else 'before'} the pixels, its calls {'separate' if packed else 'one batch'}; "
        "look at the attention maps (watch=True) before you trust it",
        UntestedModelWarning,
        stacklevel=4,
    )
    return ModelFacts(
        kind,
        "untested",
        layers,
        text="apart" if layers == _APART else "before",
        latents="packed" if packed else "channels first",
        calls="separate" if packed else "batch",
        time="t / 1000" if packed else "t",
        tried="untested: by rule",
    )
