"""The guidance step: observe -> statistics -> terms -> gradient -> corrected prediction.

`Guidance.attached` puts two hooks on the denoiser. Given the batch [unconditional, conditional], the pre-hook runs the
unconditional part without a graph and lets the pipeline's own call run the conditional part with one; the other hook scores
the observed attention and adds the same correction to both parts. Classifier-free guidance is affine, so the pipeline's
combined prediction moves by exactly that correction, whatever the pipeline, scheduler or guidance scale.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spatialguide.config import GuidanceConfig
from spatialguide.contracts import Layers
from spatialguide.correction import (
    clipped,
    guidance_norm,
    moved_back,
    noise_shift,
    norms,
    paper_correction,
    prediction_type_of,
    relative_correction,
    rescaled,
    signal_rate,
)
from spatialguide.errors import UnsupportedPipelineError
from spatialguide.losses import LossSum, Scored
from spatialguide.observer import AttentionObserver, Bindings
from spatialguide.pipelines import (
    EagerCalls,
    compiled_calls_suspended,
    denoiser_of,
    guidance_scale_of,
    parts_of,
    plain,
    sample_name,
)
from spatialguide.scene import Scene
from spatialguide.trace import ImageStep, Step, Trace

_ATTACHED = "_spatialguide_attached"
_LOSS_SCALE = 2.0**10
#: Where in the sampling an image is looked at to be ranked, as a fraction: the layout is there by then, and the default's
#: guidance over.
RANKED = 0.4


@dataclass(frozen=True)
class Visit:
    """What guidance does with a call of the denoiser.

    index: number of its sampling step.
    guided: it is corrected.
    in_parts: the two parts of its batch run one after the other. So they do in guided calls, and in those that would be guided
    if not all images had finished before: an image is to come out the same, to the last bit, whether the others of its batch
    have finished or not.
    seen: its maps are scored. That alone changes no bit.
    ranked: candidates are ranked by its maps.
    """

    index: int
    guided: bool
    in_parts: bool
    seen: bool
    ranked: bool


@dataclass
class Pending:
    """A call between its two hooks. sample: of the conditional part. half: it runs in half precision."""

    visit: Visit
    observer: AttentionObserver
    sample: Tensor
    timestep: float
    half: bool
    unconditional: Tensor | None
    refined: Tensor | None = None


@dataclass(frozen=True)
class Added:
    """What a guided call was given, for a further call at the same timestep: to its prediction, and by refining."""

    timestep: float
    correction: Tensor
    refined: Tensor | None


@dataclass
class Guidance:
    """Guides one pipeline for given scenes.

    Args:
        pipeline: a diffusers pipeline with a UNet, or one of the transformers that `spatialguide.pipelines` knows.
        scenes: one per prompt of the batch.
        bindings: token positions per scene and object.
        layers: attention layers to observe.
        losses: weighted sum of loss terms.
        config: strength, window, and so on.
        guidance_scale: of classifier-free guidance, for pipelines that do not say; the pipeline's own if not given.
        watched: look at every step of images with objects, guided or not.
    """

    pipeline: Any
    scenes: Sequence[Scene]
    bindings: Bindings
    layers: Layers
    losses: LossSum
    config: GuidanceConfig
    trace: Trace
    guidance_scale: float | None = None
    watched: bool = False
    _pending: Pending | None = None
    _nested: bool = False
    #: Whether anything in the denoiser is compiled, and whether a guided call keeps it from running so.
    _compiled: bool = False
    _eager: bool = False
    #: Per image, at how many guided steps in a row its relations have held, up to the step that was last counted.
    _held: Tensor | None = None
    _counted: int = -1
    #: The scheduler's timesteps in the running generation, and those of them that it visits, each once.
    _timesteps: Tensor | None = None
    _visited: Tensor | None = None
    #: How many of the running call's arguments came by position: third-party patches (ToMe, DeepCache) read them there.
    _positional: int = 0
    #: What the last guided call added, for a further call at the same timestep.
    _added: Added | None = None

    @contextmanager
    def attached(self) -> Iterator[Trace]:
        """Guide every call of the pipeline inside the block; afterwards the pipeline is as it was.

        Raises:
            UnsupportedPipelineError: the pipeline cannot be guided, or is guided already.
        """
        called: Any = denoiser_of(self.pipeline)
        denoiser: Any = plain(called)
        if getattr(denoiser, _ATTACHED, False):
            raise UnsupportedPipelineError("this pipeline is guided already: leave the other attach() block first")
        grad_before = torch.is_grad_enabled()
        with ExitStack() as undo:
            undo.callback(self._leave, grad_before)
            for handle in (
                called.register_forward_pre_hook(self._before, with_kwargs=True),
                called.register_forward_hook(self._after, with_kwargs=True, always_call=True),
            ):
                undo.callback(handle.remove)
            setattr(denoiser, _ATTACHED, True)
            undo.callback(delattr, denoiser, _ATTACHED)
            if self.config.checkpointing and not denoiser.is_gradient_checkpointing:
                denoiser.enable_gradient_checkpointing()
                undo.callback(denoiser.disable_gradient_checkpointing)
            # By name: sequential offload puts new parameters in their places.
            trainable = {name for name, parameter in denoiser.named_parameters() if parameter.requires_grad}
            undo.callback(_set_trainable, denoiser, trainable, True)
            _set_trainable(denoiser, trainable, False)
            self._compiled = undo.enter_context(compiled_calls_suspended(called))
            yield self.trace

    def _leave(self, grad_before: bool) -> None:
        interrupted = self._pending is not None
        self._abandon()
        if interrupted:
            torch.set_grad_enabled(grad_before)

    # --- the hooks ---------------------------------------------------------------------------------------------

    def _before(self, called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the unconditional part; hand on the conditional part with a graph."""
        if self._nested:
            return None
        self._abandon()
        denoiser = plain(called)
        name = sample_name(denoiser)
        call = inspect.signature(type(denoiser).forward).bind(denoiser, *args, **kwargs).arguments
        call.update(call.pop("kwargs", {}))
        del call["self"]
        self._positional = len(args)
        timestep = float(torch.as_tensor(call["timestep"]).flatten()[0])
        if call.get("skip_layers") is not None:
            added = self._added
            if added is None or added.timestep != timestep or added.refined is None:
                return None
            return self._as_given({**call, name: self._moved(call[name], added.refined, timestep)})
        self._added = None
        visit = self._visit(timestep)
        if visit is None:
            return None
        if torch.is_inference_mode_enabled():
            raise UnsupportedPipelineError("guidance needs gradients: call the pipeline outside torch.inference_mode()")
        sample: Tensor = call[name]
        batch, parts = sample.shape[0], parts_of(self.pipeline, call, name, len(self.scenes), self.guidance_scale)
        if batch % (parts * len(self.scenes)):
            raise UnsupportedPipelineError(
                f"the denoiser got {batch} samples, which {len(self.scenes)} prompts in {parts} parts do not divide: "
                "call the pipeline with the prompts that were attached"
            )
        images = batch // parts
        self._run_eagerly(self._compiled)
        part = slice(batch - images, batch)
        half = sample.dtype != torch.float32 or torch.is_autocast_enabled(sample.device.type)
        if not visit.in_parts:
            observer = AttentionObserver(denoiser, self.layers, graph=False, first=part.start)
            observer.__enter__()
            self._pending = Pending(visit, observer, sample[part], timestep, half, None)
            return None
        unconditional = self._unconditional(called, call, images, batch) if parts == 2 else None
        refined = None
        if visit.guided and self._refines(visit.index):
            start = Pending(visit, AttentionObserver(denoiser, self.layers), sample[part], timestep, half, unconditional)
            refined = self._refined(called, _rows(call, part, batch), name, start)
            if refined.any():
                call[name] = self._moved(sample, refined, timestep)
                unconditional = self._unconditional(called, call, images, batch) if parts == 2 else None
        call = _rows(call, part, batch)
        observer = AttentionObserver(denoiser, self.layers if visit.seen else Layers({}), graph=visit.guided)
        observer.__enter__()
        call[name] = call[name].detach().requires_grad_(visit.guided)
        self._pending = Pending(visit, observer, call[name], timestep, half, unconditional, refined)
        return self._as_given(call)

    def _after(self, called: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Score the conditional part, and add the correction to both parts."""
        if self._nested:
            return None
        pending, self._pending = self._pending, None
        self._run_eagerly(False)
        if pending is None:
            return self._alike(kwargs, output)
        pending.observer.__exit__(None, None, None)
        if output is None:  # the forward raised; its error is on its way
            return None
        if pending.visit.seen and not pending.visit.guided:
            self._look(pending)
        if not pending.visit.in_parts:
            return None
        conditional = _prediction(output).detach()
        parts = [conditional] if pending.unconditional is None else [pending.unconditional, conditional]
        if not pending.visit.guided:
            return _with_prediction(output, torch.cat(parts))
        correction = self._correction(pending, conditional)
        if pending.refined is not None:
            correction = correction + moved_back(pending.refined, *self._noise_level(pending.timestep))
        # Models that also predict a variance (PixArt) have more channels than the noise has.
        rest = conditional.shape[1] - correction.shape[1]
        added = functional.pad(correction, (0, 0, 0, 0, 0, rest))
        self._added = Added(pending.timestep, added, pending.refined)
        return _with_prediction(output, torch.cat([part + added.to(part.dtype) for part in parts]))

    def _unconditional(self, called: nn.Module, call: dict[str, Any], images: int, batch: int) -> Tensor:
        """The prediction for the batch's unconditional part, without a graph."""
        with torch.no_grad():
            return _prediction(self._call_denoiser(called, _rows(call, slice(0, images), batch)))

    def _call_denoiser(self, called: nn.Module, call: dict[str, Any]) -> Any:
        """A call of the denoiser that our own hooks let pass."""
        self._nested = True
        try:
            args, kwargs = self._as_given({**call, "return_dict": False})
            return called(*args, **kwargs)
        finally:
            self._nested = False

    def _as_given(self, call: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by position and by name, as the pipeline gave them; a call has them in the order of the signature."""
        names = list(call)
        return tuple(call[name] for name in names[: self._positional]), {name: call[name] for name in names[self._positional :]}

    def _refines(self, index: int) -> bool:
        return self.config.refine > 0 and self._visited is not None and index < self.config.refine_until * len(self._visited)

    def _refined(self, called: nn.Module, call: dict[str, Any], name: str, start: Pending) -> Tensor:
        """Sum of the corrections of some steps down the loss, each from where the ones before have led; in output space."""
        total: Tensor | None = None
        for _ in range(self.config.refine):
            sample = start.sample if total is None else self._moved(start.sample, total, start.timestep)
            sample = sample.detach().requires_grad_()
            with start.observer:
                prediction = _prediction(self._call_denoiser(called, {**call, name: sample})).detach()
            correction = self._correction(replace(start, sample=sample), prediction)
            total = correction if total is None else total + correction
            if not correction.any():
                break  # no image needs more
        assert total is not None
        return total

    def _moved(self, sample: Tensor, correction: Tensor, timestep: float) -> Tensor:
        """Where noise that is corrected so would put every part of the sample, at the same noise level."""
        shift = noise_shift(correction, *self._noise_level(timestep))
        shift = functional.pad(shift, (0, 0, 0, 0, 0, sample.shape[1] - shift.shape[1]))
        return sample + shift.repeat(sample.shape[0] // shift.shape[0], 1, 1, 1).to(sample.dtype)

    def _noise_level(self, timestep: float) -> tuple[str, float]:
        """What is predicted, and the signal rate."""
        return prediction_type_of(self.pipeline.scheduler), signal_rate(self.pipeline.scheduler, timestep)

    def _alike(self, kwargs: dict[str, Any], output: Any) -> Any:
        """Correct skip-layer guidance's further call (SD 3.5) like the text prediction: the pipeline takes their difference."""
        added = self._added
        if added is None or kwargs.get("skip_layers") is None or output is None:
            return None
        if float(torch.as_tensor(kwargs["timestep"]).flatten()[0]) != added.timestep:
            return None
        prediction = _prediction(output)
        return _with_prediction(output, prediction + added.correction.to(prediction.dtype))

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

    # --- the step ----------------------------------------------------------------------------------------------

    def _correction(self, pending: Pending, conditional: Tensor) -> Tensor:
        """The step on one screen: maps, statistics, terms, gradient, correction; recorded in the trace."""
        # Statistics are float32, under autocast too.
        with torch.enable_grad(), torch.autocast(conditional.device.type, enabled=False):
            scored = self._scored(pending)
            needed = self._needed(scored, pending)
            gradient = self._gradient(scored, pending, needed)
        # The first channels are the latents; inpainting models append a mask and a masked image.
        gradient = gradient[:, : conditional.shape[1]]
        finite = scored.finite & gradient.flatten(1).isfinite().all(dim=1)
        gradient = torch.where(finite.view(-1, 1, 1, 1), gradient, torch.zeros_like(gradient))
        correction = self._scaled(gradient, pending, conditional) * needed.view(-1, 1, 1, 1)
        correction = self._clipped(correction, pending, conditional)
        if self.config.rescale:
            correction = self._clipped(rescaled(correction, *self._parts(pending, conditional)), pending, conditional)
        # Last of all, so that nothing that is not finite gets past it: a finite gradient can be scaled beyond all numbers, or
        # beyond those of the output's precision.
        finite = finite & correction.to(conditional.dtype).flatten(1).isfinite().all(dim=1)
        correction = torch.where(finite.view(-1, 1, 1, 1), correction, torch.zeros_like(correction))
        self._record(pending, scored.images, gradient, correction, finite)
        return correction

    def _look(self, pending: Pending) -> None:
        """Record what a call shows that nothing is added to."""
        with torch.no_grad(), torch.autocast(pending.sample.device.type, enabled=False):
            scored = self._scored(pending)
        nothing = torch.zeros_like(pending.sample)
        self._record(pending, scored.images, nothing, nothing, scored.finite)

    def _scored(self, pending: Pending) -> Scored:
        return self.losses(pending.observer, self.scenes, self.bindings, pending.sample, ranked=pending.visit.ranked)

    def _gradient(self, scored: Scored, pending: Pending, needed: Tensor) -> Tensor:
        """Of the loss with respect to what the denoiser received, float32; zero where no image needs it."""
        if not scored.total.requires_grad or not needed.any():
            return torch.zeros_like(pending.sample, dtype=torch.float32)
        # Half-precision gradients underflow: scale the loss up and the gradient down again.
        scale = _LOSS_SCALE if pending.half else 1.0
        (gradient,) = torch.autograd.grad(scored.total * scale, pending.sample)
        return gradient.float() / scale

    def _needed(self, scored: Scored, pending: Pending) -> Tensor:
        """How much of the correction for a single relation each image still needs."""
        unfinished = ~self._finished(scored, pending.visit.index)
        if self.config.mode == "relative":
            return scored.unmet(self.config.settle_margin if self.config.settle else None) * unfinished
        return unfinished.float()

    def _finished(self, scored: Scored, index: int) -> Tensor:
        """Images whose relations have held for so many guided steps that they need no more guidance; counts this step once."""
        # Written so that a distance that is not a number does not hold.
        holds = scored.unmet(self.config.settle_margin) <= 0
        held = torch.zeros(len(holds), device=holds.device) if self._held is None else self._held
        nothing_to_guide = torch.tensor([image is None for image in scored.images], device=holds.device)
        finished = self._has_finished(held) | nothing_to_guide
        held = torch.where(nothing_to_guide, torch.full_like(held, float("inf")), held)
        if index != self._counted:
            # Once finished stays finished, so that an image does not depend on the others in its batch.
            held = torch.where(finished, held, torch.where(holds, held + 1, torch.zeros_like(held)))
        self._held, self._counted = held, index
        return finished

    def _has_finished(self, held: Tensor) -> Tensor:
        return held >= (self.config.patience or float("inf"))

    def _scaled(self, gradient: Tensor, pending: Pending, conditional: Tensor) -> Tensor:
        kind = prediction_type_of(self.pipeline.scheduler)
        if self.config.mode == "relative":
            return relative_correction(gradient, self.config.strength, kind, *self._parts(pending, conditional))
        alpha = 1.0 if kind == "epsilon" else signal_rate(self.pipeline.scheduler, pending.timestep)
        return paper_correction(gradient, self.config.strength, kind, alpha)

    def _clipped(self, correction: Tensor, pending: Pending, conditional: Tensor) -> Tensor:
        if self.config.clip is None:
            return correction
        return clipped(correction, self.config.clip * guidance_norm(*self._parts(pending, conditional)))

    def _parts(self, pending: Pending, conditional: Tensor) -> tuple[Tensor, Tensor | None, float]:
        """Both predictions of the noise alone, and the guidance scale."""
        scale = guidance_scale_of(self.pipeline) if self.guidance_scale is None else self.guidance_scale
        # Inpainting models take more channels than the latents have, and PixArt predicts more.
        channels = min(pending.sample.shape[1], conditional.shape[1])
        unconditional = None if pending.unconditional is None else pending.unconditional[:, :channels]
        return conditional[:, :channels], unconditional, scale

    def _record(
        self, pending: Pending, images: list[ImageStep | None], gradient: Tensor, correction: Tensor, finite: Tensor
    ) -> None:
        sizes = zip(norms(gradient).flatten().tolist(), norms(correction).flatten().tolist(), finite.tolist(), strict=True)
        rows = [
            replace(image, gradient_norm=before, correction_norm=after, skipped=not ok) if image else None
            for image, (before, after, ok) in zip(images, sizes, strict=True)
        ]
        self.trace.steps.append(Step(pending.visit.index, pending.timestep, tuple(rows)))

    def _visit(self, timestep: float) -> Visit | None:
        """What is done with the call at a timestep; None where it is left alone.

        Keyed on the timestep, since some schedulers call more than once a step, and counted from the first step that runs:
        image to image runs the schedule's last part, SDXL's base before a refiner its first.
        """
        guides = self.config.strength > 0
        if not (guides or self.watched) or not any(scene.objects for scene in self.scenes):
            return None
        visited = self._schedule(timestep)
        index = int((visited - timestep).abs().argmin())
        run = len(visited)
        start, stop = self.config.window
        begun = math.ceil(start * run)
        in_turn = guides and start <= index / run < stop and (index - begun) % self.config.every == 0
        finished = self._held is not None and bool(self._has_finished(self._held).all())
        ranked = self.config.best_of > 1 and index == min(math.ceil(RANKED * run), run - 1)
        guided = in_turn and not finished
        seen = guided or ranked or self.watched
        return Visit(index, guided, in_turn, seen, ranked) if in_turn or seen else None

    def _schedule(self, timestep: float) -> Tensor:
        """Timesteps of the steps that this generation runs; found anew when the scheduler has new ones."""
        timesteps = self.pipeline.scheduler.timesteps
        if self._visited is None or self._timesteps is not timesteps:
            first = int((timesteps.float() - timestep).abs().argmin())
            run = getattr(self.pipeline, "num_timesteps", len(timesteps) - first)
            self._timesteps, self._visited = timesteps, timesteps[first : first + run].float().unique_consecutive()
            self._held, self._counted = None, -1
        return self._visited


def _set_trainable(denoiser: nn.Module, names: set[str], trainable: bool) -> None:
    for name, parameter in denoiser.named_parameters():
        if name in names:
            parameter.requires_grad_(trainable)


def _prediction(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output.sample
    return found


def _with_prediction(output: Any, prediction: Tensor) -> Any:
    """The denoiser's output with another prediction in it."""
    return (prediction, *output[1:]) if isinstance(output, tuple) else type(output)(sample=prediction)


def _rows(value: Any, rows: slice, batch: int) -> Any:
    """The given samples of a call's arguments, through nested dicts and sequences."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and value.shape[0] == batch else value
    if isinstance(value, dict):
        return {key: _rows(item, rows, batch) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_rows(item, rows, batch) for item in value)
    return value
