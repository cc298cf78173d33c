"""One sampling step of the user's pipeline, seen from two hooks on its denoiser and one on its scheduler's step.

The denoiser's hooks run the conditional prediction with a graph, score the observed attention and differentiate (`step`). The
correction is added where the pipeline hands the scheduler its prediction, after all that it does itself: classifier-free
guidance in one call or in two, rescaling, a change of sign, skip-layer guidance. So the prediction moves by exactly what was
asked, whatever the model.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from spatialguide.config import GuidanceConfig
from spatialguide.contracts import Layers
from spatialguide.errors import UnguidedWarning, UnsupportedPipelineError
from spatialguide.guidance.attention import AttentionObserver, Places
from spatialguide.guidance.bias import Bias, Sight
from spatialguide.guidance.correction import prediction_type_of, signal_rate
from spatialguide.guidance.denoiser import (
    CallOrder,
    EagerCalls,
    joined,
    order_of,
    plain,
    prediction_of,
    resolved,
    rows_of,
    with_prediction,
)
from spatialguide.guidance.losses import Term
from spatialguide.guidance.models import ModelFacts
from spatialguide.guidance.prompts import Prompts
from spatialguide.guidance.scene_batch import SceneBatch
from spatialguide.guidance.schedule import Schedule, StepPlan
from spatialguide.guidance.steering import Steer
from spatialguide.guidance.step import Prediction, Scores, correct, gradient, score
from spatialguide.guidance.trace import BiasShares, StepRecord, Trace


@dataclass(frozen=True)
class Settings:
    """How a pipeline is guided. layers: to observe; steered: whose attention is steered.

    watched: look at every step of images with objects, guided or not.
    """

    terms: Sequence[Term]
    layers: Layers
    config: GuidanceConfig
    facts: ModelFacts
    watched: bool = False
    steers: Sequence[Steer] = ()
    steered: Sequence[str] = ()


@dataclass
class Generation:
    """One call of the pipeline.

    prompts: None while they are not known. guided: whether it uses classifier-free guidance, as its text encoding was told.
    schedule: of its steps, from the first call of the denoiser on. places: by the shape of the latents. sight: what its last
    step saw.
    """

    prompts: Prompts | None
    config: GuidanceConfig
    guided: bool = False
    schedule: Schedule | None = None
    batch: SceneBatch | None = None
    places: dict[torch.Size, Places] = field(default_factory=dict)
    sight: Sight | None = None
    unread: bool = False


@dataclass
class _Step:
    """One sampling step, from its first call of the denoiser to the scheduler's.

    leaves: what the conditional part received, one tensor, or one an image. others: predictions of the parts that ran before
    it, None where all run in one call. bias: what is added to attention; shares: how much of it each image got. direction:
    gradient of the loss.
    """

    plan: StepPlan
    order: CallOrder
    observer: AttentionObserver
    call: Mapping[str, Any]
    leaves: list[Tensor]
    half: bool
    others: list[Any] | None
    bias: Bias | None = None
    shares: BiasShares | None = None
    unconditional: Tensor | None = None
    scores: Scores | None = None
    needed: Tensor | None = None
    direction: Tensor | None = None


class GuidedCalls:
    """The hooks on the denoiser, and what they have to remember from one to the next.

    Args:
        pipeline: whose scheduler gets the corrected predictions.
        trace: gets a record of each step.
        compiled: whether anything in the denoiser is compiled, so that guided calls have to run as they are.
    """

    def __init__(self, pipeline: Any, settings: Settings, trace: Trace, compiled: bool) -> None:
        self._pipeline, self._settings, self._trace, self._compiled = pipeline, settings, trace, compiled
        #: The step under way, and its call between the two hooks.
        self._step: _Step | None = None
        self._open = False
        self._nested = False
        self._positional = 0
        self._eager = False
        self._release: Callable[[], None] = _nothing
        self.begin(None)

    def begin(self, prompts: Prompts | None, guided: bool = False) -> None:
        """A generation of these prompts begins; None are not known yet. guided: see `Generation`."""
        config = self._settings.config
        if prompts is not None and not prompts.guided:
            config = config.model_copy(update={"strength": 0.0})
        self.abandon()
        self.generation = Generation(prompts, config, guided)
        self._trace.clear()

    # --- the denoiser's hooks ------------------------------------------------------------------------------------

    def before(self, called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A step's first call: run the other parts of the batch, and hand on the conditional part with a graph."""
        if self._nested:
            return None
        if self._open:
            self.abandon()
        current = self.generation
        if current.prompts is None or not any(scene is not None for scene in current.prompts.scenes):
            return None
        denoiser, facts = plain(called), self._settings.facts
        call = self._bound(denoiser, args, kwargs)
        if current.schedule is None:
            current.schedule = self._schedule(denoiser)
        plan = current.schedule.plan(self._pipeline, self._timestep(denoiser, call))
        if self._step is not None:
            if plan is not None and plan.timestep == self._step.plan.timestep:
                return None  # the unconditional call, or skip-layer guidance's
            self.abandon()
            warnings.warn(
                f"{type(self._pipeline).__name__} did not call its scheduler's step() with its prediction: no guidance there",
                UnguidedWarning,
                stacklevel=2,
            )
        if plan is None:
            return None
        name = facts.latents_name(denoiser)
        sample, lists = call[name], facts.latents == "list"
        batch = len(sample)
        order, images = self._order(batch)
        self._run_eagerly(self._compiled)
        rows = slice(order.conditional * images, (order.conditional + 1) * images)
        first = sample[0]
        half = first.dtype != torch.float32 or torch.is_autocast_enabled(first.device.type)
        others = None
        if plan.split and order.separable and order.parts > 1:
            parts = [slice(0, rows.start), slice(rows.stop, batch)]
            with torch.no_grad():
                others = [
                    self._call_denoiser(called, rows_of(call, part, batch, lists)) for part in parts if part.start < part.stop
                ]
            call = rows_of(call, rows, batch, lists)
            sample, rows = call[name], slice(0, images)
        observed = self._settings.layers if plan.observed else Layers({})
        bias = self._bias(plan, denoiser, call, rows) if plan.biased else None
        mask = None if bias is None else bias.mask
        observer = AttentionObserver(denoiser, observed, plan.guided, rows.start, self._settings.steered, mask)
        parts_of_batch = sample[rows] if lists else [sample[rows]]
        leaves = [part.detach().requires_grad_(plan.guided) for part in parts_of_batch]
        self._step = _Step(plan, order, observer, call, leaves, half, others, bias)
        self._open = True
        observer.start()
        if plan.split:
            around = sample[: rows.start], sample[rows.stop :]
            call[name] = [*around[0], *leaves, *around[1]] if lists else _between(leaves[0], *around)
        return self._as_given(call) if plan.split else None

    def after(self, called: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Score a step's first call; remember what a second one predicts without the prompt."""
        step = self._step
        if self._nested or step is None:
            return None
        if not self._open:
            if output is not None and step.order.unconditional is None and step.unconditional is None and self._separate:
                step.unconditional = _stacked(prediction_of(output))
            return None
        self._open = False
        self._run_eagerly(False)
        if output is None:  # the forward raised; its error is on its way
            step.observer.stop()
            self.abandon()
            return None
        full = prediction_of(output)
        full = [each.detach() for each in full] if isinstance(full, list) else full.detach()
        if step.others is not None:
            before = int(step.order.conditional > 0)
            full = joined([*step.others[:before], full, *step.others[before:]])
        try:
            if step.plan.observed and not step.observer.saw and getattr(plain(called), "is_cache_enabled", False):
                warnings.warn(
                    f"a cache skipped the layers that guidance looks at, in step {step.plan.index}: no guidance there",
                    UnguidedWarning,
                    stacklevel=2,
                )
            else:
                self._score(step, plain(called))
        finally:
            # Not before: a backward with checkpointing calls the layers again, which are to be steered as they were.
            step.observer.stop()
            step.observer.forget()
        if step.order.unconditional is not None:
            images = len(full) // step.order.parts
            first = step.order.unconditional * images
            step.unconditional = _stacked(full[first : first + images])
        self._await_scheduler()
        return with_prediction(output, full) if step.plan.split and not isinstance(output, Tensor) else None

    def _schedule(self, denoiser: nn.Module) -> Schedule:
        settings, config = self._settings, self.generation.config
        if config.strength > 0:
            config, self._trace.reason = resolved(config, denoiser)
            self._trace.method = config.method
        return Schedule(config, settings.watched, settings.steers)

    @property
    def _separate(self) -> bool:
        return self._settings.facts.calls == "separate"

    def _bound(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments by name, in the order of the signature."""
        call = inspect.signature(type(denoiser).forward).bind(denoiser, *args, **kwargs).arguments
        call.update(call.pop("kwargs", {}))
        del call["self"]
        self._positional = len(args)
        return call

    def _timestep(self, denoiser: nn.Module, call: Mapping[str, Any]) -> Any:
        """The scheduler's timestep; a view of its own costs no wait for the device."""
        own = getattr(self._pipeline, "_current_timestep", None)
        return own if isinstance(own, Tensor) else self._settings.facts.timestep(denoiser, call)

    def _order(self, batch: int) -> tuple[CallOrder, int]:
        """The parts of a batch, and the images of each."""
        current = self.generation
        assert current.prompts is not None
        guided = getattr(self._pipeline, "do_classifier_free_guidance", current.guided)
        if current.batch is not None and batch == current.batch.images:
            guided = False  # some models leave classifier-free guidance out at times
        order = order_of(self._pipeline, self._settings.facts, bool(guided))
        prompts = len(current.prompts.scenes)
        if batch % (order.parts * prompts):
            raise UnsupportedPipelineError(
                f"the denoiser got {batch} samples, which {prompts} prompts in {order.parts} parts do not divide: "
                "call the pipeline with the prompts that were attached"
            )
        images = batch // order.parts
        if current.batch is None or current.batch.images != images:
            scenes, bindings = current.prompts.scenes, current.prompts.bindings
            current.batch = SceneBatch.of(scenes, bindings, images // prompts, self._settings.terms, self._settings.steers)
            current.places.clear()
            current.sight = None
        return order, images

    def _places(self, denoiser: nn.Module, call: Mapping[str, Any], sample: Any) -> Places:
        """The same at every step, and to ask for it may wait for the device."""
        batch, places = self.generation.batch, self.generation.places
        assert batch is not None
        shape = sample[0].shape
        if shape not in places:
            places[shape] = self._settings.facts.places(denoiser, call, sample, batch.images)
        return places[shape]

    def _bias(self, plan: StepPlan, denoiser: nn.Module, call: Mapping[str, Any], rows: slice) -> Bias:
        current, sample = self.generation, call[self._settings.facts.latents_name(denoiser)]
        assert current.batch is not None
        assert current.schedule is not None
        steers, places = current.schedule.active(plan.progress), self._places(denoiser, call, sample)
        return Bias(current.batch, steers, current.sight, places, rows.start)

    def _score(self, step: _Step, denoiser: nn.Module) -> None:
        """The loss and its gradient; a call that is only looked at is recorded here."""
        plan, batch, config, facts = step.plan, self.generation.batch, self._settings.config, self._settings.facts
        assert batch is not None
        if not plan.observed:
            return
        device = step.leaves[0].device
        # Statistics are float32, under autocast too.
        with torch.set_grad_enabled(plan.guided), torch.autocast(device.type, enabled=False):
            sample = step.leaves if facts.latents == "list" else step.leaves[0]
            maps = step.observer.maps(batch.tokens, self._places(denoiser, step.call, sample))
            scores = score(maps, batch, config, plan, self._settings.watched)
            needed, sight, before, bias = scores.needed, scores.sight, self.generation.sight, None
            if scores.holds is not None and (plan.guided or plan.biased):
                assert self.generation.schedule is not None
                unfinished = self.generation.schedule.unfinished(scores.holds, plan.index)
                needed = needed * unfinished
                sight = sight and replace(sight, unmet=sight.unmet * unfinished)
            self.generation.sight = sight
            if step.bias is not None:
                rows = {row for group in batch.groups if step.bias.steered(group) for row in group.rows}
                bias = BiasShares(frozenset(rows), None if before is None else before.unmet)
            if not plan.guided:
                self._trace.add(StepRecord(plan.index, plan.timestep, batch.images, scores.groups, bias=bias))
                return
            step.shares = bias
            step.scores, step.needed = scores, needed
            step.direction = gradient(scores.loss, needed, step.leaves, step.half)

    # --- the scheduler's step ------------------------------------------------------------------------------------

    def _await_scheduler(self) -> None:
        """Stand in for the scheduler's next step, once."""
        scheduler = self._pipeline.scheduler
        step, before = scheduler.step, scheduler.__dict__.get("step")

        @functools.wraps(step)
        def corrected(*args: Any, **kwargs: Any) -> Any:
            self._release()
            if args:
                return step(self.corrected(args[0]), *args[1:], **kwargs)
            return step(**{**kwargs, "model_output": self.corrected(kwargs["model_output"])})

        def release() -> None:
            self._release = _nothing
            if scheduler.__dict__.get("step") is corrected:
                del scheduler.step
                if before is not None:
                    scheduler.step = before

        self._release = release
        scheduler.step = corrected

    def corrected(self, combined: Tensor, unconditional: Tensor | None = None) -> Tensor:
        """The prediction that the scheduler is to step with, and the end of the step.

        Args:
            combined: as the pipeline made it. unconditional: by default as the denoiser gave it.
        """
        step, self._step = self._step, None
        if step is None or step.direction is None or step.scores is None or step.needed is None:
            return combined
        batch, config, scheduler = self.generation.batch, self._settings.config, self._pipeline.scheduler
        assert batch is not None
        if len(combined) != batch.images:
            raise UnsupportedPipelineError(
                f"{type(self._pipeline).__name__} steps with {len(combined)} predictions of {batch.images} images: "
                "it cannot be guided"
            )
        kind = prediction_type_of(scheduler)
        exact = config.mode == "paper" and kind != "epsilon"
        if unconditional is None and step.unconditional is not None:
            sign = -1 if self._settings.facts.negated else 1
            unconditional = sign * _fitted(step.unconditional, combined)
        prediction = Prediction(
            combined=combined,
            unconditional=unconditional,
            kind=kind,
            alpha=signal_rate(scheduler, step.plan.timestep) if exact else 1.0,
            channels=combined.ndim - 1 if self._settings.facts.latents in ("packed", "channels last") else 1,
        )
        with torch.no_grad():
            delta, sizes = correct(_fitted(step.direction, combined), step.scores.loss, step.needed, prediction, config)
            plan = step.plan
            self._trace.add(StepRecord(plan.index, plan.timestep, batch.images, step.scores.groups, sizes, step.shares))
            return combined + delta.to(combined.dtype)

    # --- around a call -------------------------------------------------------------------------------------------

    def _call_denoiser(self, called: nn.Module, call: dict[str, Any]) -> Any:
        """A call of the denoiser that our own hooks let pass."""
        self._nested = True
        try:
            args, kwargs = self._as_given({**call, "return_dict": False})
            return prediction_of(called(*args, **kwargs))
        except BaseException:
            self._run_eagerly(False)
            raise
        finally:
            self._nested = False

    def _as_given(self, call: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by position and by name, as they were given: third-party patches (ToMe, DeepCache) read positions."""
        names = list(call)
        return tuple(call[name] for name in names[: self._positional]), {name: call[name] for name in names[self._positional :]}

    def abandon(self) -> bool:
        """Clean up after a step that was interrupted: torch runs no forward hook for a KeyboardInterrupt.

        Returns:
            Whether it was in the middle of a call.
        """
        interrupted = self._open
        if self._step is not None:
            self._step.observer.remove()
        self._step, self._open, self._nested = None, False, False
        self._release()
        self._run_eagerly(False)
        return interrupted

    def _run_eagerly(self, wanted: bool) -> None:
        """Compiled code does not see hooks that come later."""
        if wanted and not self._eager:
            self._eager = True
            EagerCalls.start()
        elif self._eager and not wanted:
            self._eager = False
            EagerCalls.stop()


def _nothing() -> None:
    pass


def _between(leaf: Tensor, before: Tensor, after: Tensor) -> Tensor:
    return torch.cat([before, leaf, after]) if len(before) + len(after) else leaf


def _stacked(prediction: Any) -> Tensor:
    return torch.stack(prediction) if isinstance(prediction, list) else prediction


def _fitted(tensor: Tensor, like: Tensor) -> Tensor:
    """A prediction or gradient as the scheduler sees it: without a further axis of frames, and without what is no latent: a
    variance (PixArt), a mask (inpainting), pictures to edit (FLUX.1 Kontext)."""
    if tensor.ndim != like.ndim:
        tensor = tensor.reshape(*tensor.shape[:2], *like.shape[2:])
    return tensor[tuple(slice(size) for size in like.shape)]
