"""Attaching guidance to a diffusers pipeline: two hooks on its denoiser, and an ear on its text encoding.

Given the batch [unconditional, conditional], the pre-hook runs the unconditional part without a graph and lets the pipeline's
own call run the conditional part with one; the other hook scores the observed attention (`step`) and adds the same correction
to every part. The prompt is read where the pipeline hands it to its text encoders.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spatialguide.config import GuidanceConfig
from spatialguide.contracts import Layers
from spatialguide.errors import ObjectWarning, UnguidedWarning, UnsupportedPipelineError
from spatialguide.guidance.attention import AttentionObserver
from spatialguide.guidance.correction import prediction_type_of, signal_rate
from spatialguide.guidance.denoiser import (
    CallOrder,
    EagerCalls,
    compiled_calls_suspended,
    denoiser_of,
    guidance_scale_of,
    order_of,
    plain,
    prediction_of,
    rows_of,
    sample_name,
    with_prediction,
)
from spatialguide.guidance.losses import Term
from spatialguide.guidance.prompts import Prompts
from spatialguide.guidance.scene_batch import SceneBatch
from spatialguide.guidance.schedule import Schedule, StepPlan
from spatialguide.guidance.step import DenoiserCall, correct, score
from spatialguide.guidance.trace import StepRecord, Trace

_ATTACHED = "_spatialguide_attachment"


@dataclass(frozen=True)
class Settings:
    """How a pipeline is guided. layers: to observe. guidance_scale: None takes the pipeline's own. watched: look at every step
    of images with objects, guided or not."""

    terms: Sequence[Term]
    layers: Layers
    config: GuidanceConfig
    guidance_scale: float | None = None
    watched: bool = False


@dataclass
class _Pending:
    """A call between its two hooks. sample: of the conditional part, (images, channels, height, width); others: the
    predictions of the parts that ran before, None where all run in this call."""

    plan: StepPlan
    order: CallOrder
    observer: AttentionObserver
    sample: Tensor
    half: bool
    others: list[Tensor] | None


class Attachment:
    """Guidance on one pipeline, from its making until `detach`. As a context manager it detaches at the end of the block.

    Args:
        pipeline: a diffusers pipeline with a UNet, or one of the transformers that `denoiser` knows.
        settings: how to guide.
        read: the scenes of the prompts that the pipeline is called with.
        prompts: for the calls to come, where they are known before.

    Raises:
        UnsupportedPipelineError: the pipeline cannot be guided.
    """

    def __init__(
        self,
        pipeline: Any,
        settings: Settings,
        read: Callable[[Sequence[str]], Prompts] | None = None,
        prompts: Prompts | None = None,
    ) -> None:
        self.trace = Trace()
        self._detached = False
        #: Whether a call of the pipeline is under way; another pipeline may share its denoiser.
        self._under_way = False
        self._pipeline, self._settings, self._read, self._prompts = pipeline, settings, read, prompts
        self._begin(prompts)
        #: Whether the running call of the pipeline has encoded its prompt, and has not yet sampled.
        self._encoded = False
        self._pending: _Pending | None = None
        self._nested = False
        self._positional = 0
        self._eager = False
        #: (timestep, correction) of the last guided call, for a further call at the same timestep.
        self._added: tuple[float, Tensor] | None = None
        detach(pipeline)
        with ExitStack() as undo:
            self._compiled = self._install(undo)
            self._undo = undo.pop_all()

    def __enter__(self) -> Trace:
        return self.trace

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    def detach(self) -> None:
        """Leave the pipeline as it was before; again does nothing."""
        self._detached = True
        self._undo.close()

    def _install(self, undo: ExitStack) -> bool:
        called: Any = denoiser_of(self._pipeline)
        denoiser: Any = plain(called)
        undo.callback(self._leave, torch.is_grad_enabled())
        for handle in (
            called.register_forward_pre_hook(self._before, with_kwargs=True),
            called.register_forward_hook(self._after, with_kwargs=True, always_call=True),
        ):
            undo.callback(handle.remove)
        for owner in (denoiser, self._pipeline):
            setattr(owner, _ATTACHED, self)
            undo.callback(owner.__dict__.pop, _ATTACHED, None)
        if self._read is not None:
            encode = "encode_prompt" if hasattr(self._pipeline, "encode_prompt") else "_encode_prompt"
            heard = {"check_inputs": self._called, encode: self._encode, "maybe_free_model_hooks": self._ended}
            for name, stand_in in heard.items():
                if hasattr(self._pipeline, name):
                    before = self._pipeline.__dict__.get(name)
                    setattr(self._pipeline, name, self._standing_in(stand_in, getattr(self._pipeline, name)))
                    undo.callback(_unwrap, self._pipeline, name, self._pipeline.__dict__[name], before)
        if self._settings.config.checkpointing and not denoiser.is_gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
            undo.callback(denoiser.disable_gradient_checkpointing)
        # By name: sequential offload puts new parameters in their places.
        trainable = {name for name, parameter in denoiser.named_parameters() if parameter.requires_grad}
        undo.callback(_set_trainable, denoiser, trainable, True)
        _set_trainable(denoiser, trainable, False)
        return undo.enter_context(compiled_calls_suspended(called))

    def _leave(self, grad_before: bool) -> None:
        interrupted = self._pending is not None
        self._abandon()
        if interrupted:
            torch.set_grad_enabled(grad_before)

    # --- the prompt: what stands in for two methods of the pipeline ----------------------------------------------

    def _called(self, check_inputs: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`check_inputs`, with which a call of the pipeline begins."""
        self._encoded, self._under_way = False, True
        self._begin(self._prompts)
        return check_inputs(*args, **kwargs)

    def _ended(self, maybe_free_model_hooks: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`maybe_free_model_hooks`, with which a call of the pipeline ends."""
        self._under_way = False
        self._current = self._prompts
        return maybe_free_model_hooks(*args, **kwargs)

    def _begin(self, prompts: Prompts | None) -> None:
        """A generation of these prompts begins; None are not known yet."""
        config = self._settings.config
        if prompts is not None and not prompts.guided:
            config = config.model_copy(update={"strength": 0.0})
        self._current = prompts
        self._unread = False
        self._schedule = Schedule(config, self._settings.watched)
        self._batch: SceneBatch | None = None
        self.trace.clear()

    def _encode(self, encode_prompt: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`encode_prompt`; its text is what is guided, and marks in it are not for the text encoder."""
        call = inspect.signature(encode_prompt).bind(*args, **kwargs)
        if "prompt" not in call.signature.parameters:  # a user's own function, of any signature
            name = encode_prompt.__name__ if hasattr(type(self._pipeline), encode_prompt.__name__) else "encode_prompt"
            call = inspect.signature(getattr(type(self._pipeline), name)).bind(self._pipeline, *args, **kwargs)
            del call.arguments["self"]
        call.arguments.update(call.arguments.pop("kwargs", {}))
        given = call.arguments.get("prompt")
        # Only a call's first: some pipelines encode the negative prompt in a call of its own.
        if given is not None and not self._encoded and self._read is not None:
            self._encoded = True
            prompts = self._read([given] if isinstance(given, str) else list(given))
            self._begin(prompts)
            texts = list(islice(cycle(prompts.texts), 1 if isinstance(given, str) else len(given)))
            for other in ("prompt_2", "prompt_3"):
                self._heed_other_prompt(other, call.arguments.get(other), given, prompts)
            alike = [name for name in ("prompt", "prompt_2", "prompt_3") if call.arguments.get(name) == given]
            call.arguments.update(dict.fromkeys(alike, texts[0] if isinstance(given, str) else texts))
            return encode_prompt(**call.arguments)
        return encode_prompt(*args, **kwargs)

    def _standing_in(self, heard: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
        """What is called in a method's place; copies of the pipeline keep it when this one is detached."""

        @functools.wraps(method)
        def standing_in(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs) if self._detached else heard(method, *args, **kwargs)

        return standing_in

    def _heed_other_prompt(self, name: str, text: Any, given: Any, prompts: Prompts) -> None:
        """Words of a second encoder's own prompt stand elsewhere."""
        if text not in (None, given) and prompts is not self._prompts:
            fault = (
                f"{name} differs from the prompt, in which the objects' words are looked for: name them with attach(tokens=...)"
            )
            warnings.warn(fault, ObjectWarning, stacklevel=2)

    # --- the hooks ---------------------------------------------------------------------------------------------

    def _before(self, called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the other parts of the batch; hand on the conditional part with a graph."""
        if self._nested:
            return None
        self._abandon()
        self._encoded = False
        denoiser = plain(called)
        name = sample_name(denoiser)
        call = inspect.signature(type(denoiser).forward).bind(denoiser, *args, **kwargs).arguments
        call.update(call.pop("kwargs", {}))
        del call["self"]
        self._positional = len(args)
        if call.get("skip_layers") is not None:
            return None
        self._added = None
        if self._current is None:
            if self._under_way and not self._unread:
                advice = "name their prompt, attach(pipeline, prompt), to guide them"
                warnings.warn(
                    f"the pipeline was called with prompt_embeds, which are not guided: {advice}", UnguidedWarning, stacklevel=2
                )
            self._unread = True
            return None
        if not any(scene is not None for scene in self._current.scenes):
            return None
        plan = self._schedule.plan(self._pipeline, call["timestep"])
        if plan is None:
            return None
        if torch.is_inference_mode_enabled():
            raise UnsupportedPipelineError("guidance needs gradients: call the pipeline outside torch.inference_mode()")
        sample: Tensor = call[name]
        batch, prompts = sample.shape[0], len(self._current.scenes)
        order = order_of(self._pipeline, call, name, prompts, self._settings.guidance_scale)
        if batch % (order.parts * prompts):
            raise UnsupportedPipelineError(
                f"the denoiser got {batch} samples, which {prompts} prompts in {order.parts} parts do not divide: "
                "call the pipeline with the prompts that were attached"
            )
        images = batch // order.parts
        if self._batch is None or self._batch.images != images:
            terms, current = self._settings.terms, self._current
            self._batch = SceneBatch.of(current.scenes, current.bindings, images // prompts, terms)
        self._run_eagerly(self._compiled)
        rows = slice(order.conditional * images, (order.conditional + 1) * images)
        half = sample.dtype != torch.float32 or torch.is_autocast_enabled(sample.device.type)
        first, others = rows.start, None
        if plan.split and order.separable:
            first = 0
            rest = [slice(0, rows.start), slice(rows.stop, batch)]
            with torch.no_grad():
                others = [self._call_denoiser(called, rows_of(call, part, batch)) for part in rest if part.start < part.stop]
            others = others or None
            call = rows_of(call, rows, batch)
            sample = call[name]
            rows = slice(0, images)
        observed = self._settings.layers if plan.observed else Layers({})
        observer = AttentionObserver(denoiser, observed, graph=plan.guided, first=first)
        observer.start()
        leaf = sample[rows].detach().requires_grad_(plan.guided)
        if plan.split:
            call[name] = leaf if order.separable else torch.cat([sample[: rows.start], leaf, sample[rows.stop :]])
        self._pending = _Pending(plan, order, observer, leaf, half, others)
        return self._as_given(call) if plan.split else None

    def _after(self, called: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Score the conditional part, and add the correction to every part."""
        if self._nested:
            return None
        pending, self._pending = self._pending, None
        self._run_eagerly(False)
        if pending is None:
            return self._correct_skip_layer_call(kwargs, output)
        pending.observer.stop()
        if output is None:  # the forward raised; its error is on its way
            return None
        full = prediction_of(output).detach()
        if pending.others is not None:
            before = int(pending.order.conditional > 0)
            full = torch.cat([*pending.others[:before], full, *pending.others[before:]])
        delta = self._step(pending, full) if pending.plan.observed else None
        if not pending.plan.split:
            return None
        if delta is not None:
            # Models that also predict a variance (PixArt) have more channels than the noise has.
            delta = functional.pad(delta, (0, 0, 0, 0, 0, full.shape[1] - delta.shape[1])).to(full.dtype)
            self._added = (pending.plan.timestep, delta)
            full = full + delta.repeat(pending.order.parts, *[1] * (delta.ndim - 1))
        return with_prediction(output, full)

    def _step(self, pending: _Pending, predictions: Tensor) -> Tensor | None:
        """Score a call, correct it where it is guided, and record it. predictions: of all parts of the batch."""
        plan, batch, config = pending.plan, self._batch, self._settings.config
        assert batch is not None
        size = (pending.sample.shape[-2], pending.sample.shape[-1])
        # Statistics are float32, under autocast too.
        with torch.set_grad_enabled(plan.guided), torch.autocast(pending.sample.device.type, enabled=False):
            maps = pending.observer.maps(batch.tokens, size)
            scores = score(maps, batch, config, plan.ranked, self._settings.watched)
            if not plan.guided:
                self.trace.add(StepRecord(plan.index, plan.timestep, batch.images, scores.groups))
                return None
            needed = scores.needed
            if scores.holds is not None:
                needed = needed * self._schedule.unfinished(scores.holds, plan.index)
            delta, sizes = correct(scores, needed, self._denoiser_call(pending, predictions), config)
        self.trace.add(StepRecord(plan.index, plan.timestep, batch.images, scores.groups, sizes))
        return delta

    def _denoiser_call(self, pending: _Pending, predictions: Tensor) -> DenoiserCall:
        order = pending.order
        # Inpainting models take more channels than the latents have, and PixArt predicts more.
        channels = min(pending.sample.shape[1], predictions.shape[1])
        parts = predictions[:, :channels].chunk(order.parts)
        scheduler, scale = self._pipeline.scheduler, self._settings.guidance_scale
        kind = prediction_type_of(scheduler)
        exact = self._settings.config.mode == "paper" and kind != "epsilon"
        return DenoiserCall(
            sample=pending.sample,
            conditional=parts[order.conditional],
            unconditional=None if order.unconditional is None else parts[order.unconditional],
            guidance_scale=guidance_scale_of(self._pipeline) if scale is None else scale,
            prediction_type=kind,
            alpha=signal_rate(scheduler, pending.plan.timestep) if exact else 1.0,
            half=pending.half,
        )

    def _correct_skip_layer_call(self, kwargs: dict[str, Any], output: Any) -> Any:
        """Correct skip-layer guidance's further call (SD 3.5) like the text prediction: the pipeline takes their difference."""
        if self._added is None or kwargs.get("skip_layers") is None or output is None:
            return None
        timestep, delta = self._added
        if float(torch.as_tensor(kwargs["timestep"]).flatten()[0]) != timestep:
            return None
        prediction = prediction_of(output)
        return with_prediction(output, prediction + delta.to(prediction.dtype))

    def _call_denoiser(self, called: nn.Module, call: dict[str, Any]) -> Tensor:
        """A call of the denoiser that our own hooks let pass."""
        self._nested = True
        try:
            args, kwargs = self._as_given({**call, "return_dict": False})
            return prediction_of(called(*args, **kwargs))
        finally:
            self._nested = False

    def _as_given(self, call: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by position and by name, as the pipeline gave them: third-party patches (ToMe, DeepCache) read positions.

        A call has its arguments in the order of the signature.
        """
        names = list(call)
        return tuple(call[name] for name in names[: self._positional]), {name: call[name] for name in names[self._positional :]}

    def _abandon(self) -> None:
        """Clean up after a call that was interrupted: torch runs no forward hook for a KeyboardInterrupt."""
        if self._pending is not None:
            self._pending.observer.remove()
        self._pending, self._nested = None, False
        self._run_eagerly(False)

    def _run_eagerly(self, wanted: bool) -> None:
        """Compiled code does not see hooks that come later."""
        if wanted and not self._eager:
            self._eager = True
            EagerCalls.start()
        elif self._eager and not wanted:
            self._eager = False
            EagerCalls.stop()


def detach(pipeline: Any) -> None:
    """Take guidance off a pipeline; one that has none stays as it is."""
    for owner in (plain(denoiser_of(pipeline)), pipeline):
        attachment = getattr(owner, "__dict__", {}).get(_ATTACHED)
        if attachment is not None:
            attachment.detach()


def _unwrap(pipeline: Any, name: str, ours: Any, before: Any) -> None:
    """Give a pipeline its own method back, or what its user had put in that method's place."""
    if pipeline.__dict__.get(name) is not ours:
        return
    delattr(pipeline, name)
    if before is not None:
        setattr(pipeline, name, before)


def _set_trainable(denoiser: nn.Module, names: set[str], trainable: bool) -> None:
    for name, parameter in denoiser.named_parameters():
        if name in names:
            parameter.requires_grad_(trainable)
