"""A guider for diffusers' modular pipelines, which wraps any other guider and corrects what that one gives.

    pipe.update_components(guider=SpatialGuidance(ClassifierFreeGuidance(guidance_scale=5.0)))
    pipe.blocks.sub_blocks.insert("spatial", SpatialParseStep(), 0)   # reads the prompt; or call guider.read(pipe, prompt)

Needs diffusers' guiders, which came with 0.35; all else works without.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import diffusers.guiders
import torch
from diffusers.guiders import BaseGuidance, ClassifierFreeGuidance
from diffusers.guiders.guider_utils import GuiderOutput
from diffusers.modular_pipelines import ComponentSpec, InputParam, ModularPipelineBlocks
from torch import Tensor

from spatialguide.config import make_config
from spatialguide.errors import UnguidedWarning
from spatialguide.guidance.attach import weights_frozen
from spatialguide.guidance.calls import GuidedCalls
from spatialguide.guidance.denoiser import compiled_calls_suspended, denoiser_of, plain, refuse_unsupported
from spatialguide.guidance.prompts import PromptSource
from spatialguide.guidance.trace import Trace
from spatialguide.guide import SpatialGuide
from spatialguide.sampling import prompt_list


class _GuidersCalls(GuidedCalls):
    """The step ends in the guider and not in the scheduler."""

    def _await_scheduler(self) -> None:
        pass


class SpatialGuidance(BaseGuidance):  # type: ignore[misc]
    """Draws a modular pipeline's prompt the way round it says.

    Outside its window, and for prompts with nothing to guide, the wrapped guider's result is handed on to the bit.

    Args:
        guider: the one that is wrapped, itself or as saved; classifier-free guidance by default.
        preset, overrides: as `SpatialGuide`'s.
        start, stop: the guided part of the steps; by default that of the configuration.

    Raises:
        ConfigError: an unknown preset or key, or a value out of range.
    """

    _input_predictions = ["pred_cond"]  # noqa: RUF012  diffusers wants a list

    def __init__(
        self,
        guider: BaseGuidance | dict[str, Any] | None = None,
        preset: str = "balanced",
        overrides: dict[str, Any] | None = None,
        start: float | None = None,
        stop: float | None = None,
        enabled: bool = True,
    ) -> None:
        config = make_config(preset, **(overrides or {}))
        first, last = config.guidance.window
        window = (first if start is None else start, last if stop is None else stop)
        super().__init__(*window, enabled)
        self.guider = ClassifierFreeGuidance() if guider is None else _made(guider) if isinstance(guider, dict) else guider
        if not enabled:
            self.guider.disable()
        saved = {"class": type(self.guider).__name__, "config": dict(self.guider.config)}
        self.register_to_config(guider=saved, preset=preset, overrides=overrides, start=start, stop=stop, enabled=enabled)
        changed: dict[str, Any] = {"guidance": config.guidance.model_copy(update={"window": window})}
        if (start, stop) != (None, None):
            changed["steerings"] = {name: each.model_copy(update={"window": window}) for name, each in config.steerings.items()}
        self._guide = SpatialGuide(config.model_copy(update=changed))
        #: What guidance saw and did in the last generation.
        self.trace = Trace()
        self._calls: GuidedCalls | None = None
        self._fresh = False
        self._around = ExitStack()

    def read(self, components: Any, prompt: str | Sequence[str]) -> str | list[str]:
        """Read the prompt of the generation that comes next.

        Args:
            components: the pipeline, or what its blocks get: denoiser, scheduler and tokenizers.

        Returns:
            The prompt without marks, for the text encoders.

        Raises:
            As `SpatialGuide.attach`.
        """
        refuse_unsupported(components)
        denoiser = plain(denoiser_of(components))
        # A guider's predictions are calls of their own, the conditional one first.
        facts = replace(self._guide.facts(components), calls="separate")
        texts = prompt_list(prompt)
        source = PromptSource(components, facts, self._guide._reader, self._guide.guides, watch=False)
        prompts = source.read(texts, {})
        self._calls = _GuidersCalls(components, self._guide.settings(denoiser, facts), self.trace, compiled=False)
        self._calls.begin(prompts)
        self._fresh = True
        return prompts.texts[0] if isinstance(prompt, str) else list(prompts.texts)

    # --- what a denoising loop asks of a guider --------------------------------------------------------------------

    def set_state(self, step: int, num_inference_steps: int, timestep: Any) -> None:
        """A step begins."""
        super().set_state(step, num_inference_steps, timestep)
        self.guider.set_state(step, num_inference_steps, timestep)
        if step == 0 and self._enabled:
            if not self._fresh:
                self._calls = None
                fault = "no prompt was read: put SpatialParseStep before the denoising, or call guider.read(pipeline, prompt)"
                warnings.warn(f"{fault}; generating without guidance", UnguidedWarning, stacklevel=2)
            self._fresh = False

    def disable(self) -> None:
        """No guidance at all, as of every guider: the wrapped one is disabled too."""
        super().disable()
        self.guider.disable()

    def enable(self) -> None:
        """Undo `disable`."""
        super().enable()
        self.guider.enable()

    def prepare_inputs(self, data: Any) -> Any:
        """As the wrapped guider."""
        return self.guider.prepare_inputs(data)

    def prepare_inputs_from_block_state(self, data: Any, input_fields: Any) -> Any:
        """As the wrapped guider."""
        return self.guider.prepare_inputs_from_block_state(data, input_fields)

    def prepare_models(self, denoiser: torch.nn.Module) -> None:
        """A call of the denoiser comes; the first of a step is the conditional one."""
        super().prepare_models(denoiser)
        self.guider.prepare_models(denoiser)
        if self._calls is None or not self._enabled:
            return
        self._calls._compiled = self._around.enter_context(compiled_calls_suspended(denoiser))
        self._around.enter_context(weights_frozen(plain(denoiser)))
        for handle in (
            denoiser.register_forward_pre_hook(self._calls.before, with_kwargs=True),
            denoiser.register_forward_hook(self._calls.after, with_kwargs=True, always_call=True),
        ):
            self._around.callback(handle.remove)

    def cleanup_models(self, denoiser: torch.nn.Module) -> None:
        """The call is over."""
        self._around.close()
        self.guider.cleanup_models(denoiser)

    def forward(self, **predictions: Tensor) -> GuiderOutput:
        """The wrapped guider's result, corrected."""
        found = self.guider.forward(**{name: each.detach() for name, each in predictions.items()})
        if self._calls is not None and self._enabled:
            found.pred = self._calls.corrected(found.pred, predictions.get("pred_uncond"))
        return found

    @property
    def is_conditional(self) -> bool:
        """Whether the call that was prepared last is the conditional one."""
        return bool(self.guider.is_conditional)

    @property
    def num_conditions(self) -> int:
        """Calls of the denoiser in a step."""
        return int(self.guider.num_conditions)


def _made(saved: dict[str, Any]) -> BaseGuidance:
    kind = getattr(diffusers.guiders, saved["class"])
    if not issubclass(kind, BaseGuidance):
        raise TypeError(f"{saved['class']} is no guider")
    made: BaseGuidance = kind.from_config(saved["config"])
    return made


class SpatialParseStep(ModularPipelineBlocks):  # type: ignore[misc]
    """A block that reads the prompt for `SpatialGuidance`, and takes marks out of it for the text encoders."""

    @property
    def description(self) -> str:
        """For people who look at the pipeline."""
        return "Reads objects and relations from the prompt, for the guider SpatialGuidance"

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """The guider."""
        return [ComponentSpec("guider", SpatialGuidance, default_creation_method="from_config")]

    @property
    def inputs(self) -> list[InputParam]:
        """The prompt or prompts."""
        return [InputParam("prompt", required=True)]

    @torch.no_grad()
    def __call__(self, components: Any, state: Any) -> Any:
        """Read the prompt."""
        block = self.get_block_state(state)
        if isinstance(components.guider, SpatialGuidance):
            block.prompt = components.guider.read(components, block.prompt)
        self.set_block_state(state, block)
        return components, state
