"""Attaching guidance to a diffusers pipeline: hooks on its denoiser (`calls`), and an ear on its text encoding."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from types import TracebackType
from typing import Any

import torch
from torch import nn

from spatialguide.errors import ObjectWarning, UnguidedWarning
from spatialguide.guidance.calls import GuidedCalls, Settings
from spatialguide.guidance.denoiser import compiled_calls_suspended, denoiser_of, plain
from spatialguide.guidance.prompts import Prompts, PromptSource
from spatialguide.guidance.trace import Trace

_ATTACHED = "_spatialguide_attachment"


class Attachment:
    """Guidance on one pipeline, from its making until `detach`. As a context manager it detaches at the end of the block.

    Args:
        pipeline: a diffusers pipeline.
        settings: how to guide.
        prompts: for the calls to come, where they are known before.
        source: reads the prompts that the pipeline is called with.

    Raises:
        UnsupportedPipelineError: the pipeline cannot be guided.
    """

    def __init__(
        self, pipeline: Any, settings: Settings, prompts: Prompts | None = None, source: PromptSource | None = None
    ) -> None:
        self.trace = Trace()
        self._detached = False
        self._pipeline, self._settings, self._prompts, self._source = pipeline, settings, prompts, source
        #: Whether a call of the pipeline is under way, and has encoded its prompt; another pipeline may share its denoiser.
        self._under_way = self._encoded = False
        detach(pipeline)
        with ExitStack() as undo:
            compiled = undo.enter_context(compiled_calls_suspended(denoiser_of(pipeline)))
            self._calls = GuidedCalls(pipeline, settings, self.trace, compiled)
            self._calls.begin(prompts)
            self._install(undo)
            self._undo = undo.pop_all()

    def __enter__(self) -> Trace:
        return self.trace

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    def detach(self) -> None:
        """Leave the pipeline as it was before; again does nothing."""
        self._detached = True
        self._undo.close()

    def _install(self, undo: ExitStack) -> None:
        called: Any = denoiser_of(self._pipeline)
        denoiser: Any = plain(called)
        undo.callback(self._leave, torch.is_grad_enabled())
        for handle in (
            called.register_forward_pre_hook(self._before, with_kwargs=True),
            called.register_forward_hook(self._calls.after, with_kwargs=True, always_call=True),
        ):
            undo.callback(handle.remove)
        for owner in (denoiser, self._pipeline):
            setattr(owner, _ATTACHED, self)
            undo.callback(owner.__dict__.pop, _ATTACHED, None)
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
        undo.enter_context(weights_frozen(denoiser))

    def _leave(self, grad_before: bool) -> None:
        if self._calls.abandon():
            torch.set_grad_enabled(grad_before)

    def _before(self, called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        generation = self._calls.generation
        if generation.prompts is None and self._under_way and not generation.unread:
            generation.unread = True
            advice = "name their prompt, attach(pipeline, prompt), to guide them"
            warnings.warn(
                f"the pipeline was called with prompt_embeds, which are not guided: {advice}", UnguidedWarning, stacklevel=2
            )
        self._encoded = False
        return self._calls.before(called, args, kwargs)

    # --- the prompt: what stands in for three methods of the pipeline ---------------------------------------------

    def _called(self, check_inputs: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`check_inputs`, with which a call of the pipeline begins."""
        self._encoded, self._under_way = False, True
        self._calls.begin(self._prompts)
        return check_inputs(*args, **kwargs)

    def _ended(self, maybe_free_model_hooks: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`maybe_free_model_hooks`, with which a call of the pipeline ends."""
        self._under_way = False
        if self._source is not None:
            self.trace.warn(self._settings.terms)
        self._calls.generation.prompts = self._prompts
        return maybe_free_model_hooks(*args, **kwargs)

    def _encode(self, encode_prompt: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`encode_prompt`; its text is what is guided, and marks in it are not for the text encoder."""
        call = inspect.signature(encode_prompt).bind(*args, **kwargs)
        if "prompt" not in call.signature.parameters:  # a user's own function, of any signature
            name = encode_prompt.__name__ if hasattr(type(self._pipeline), encode_prompt.__name__) else "encode_prompt"
            call = inspect.signature(getattr(type(self._pipeline), name)).bind(self._pipeline, *args, **kwargs)
            del call.arguments["self"]
        call.arguments.update(call.arguments.pop("kwargs", {}))
        # Only a call's first: some pipelines encode the negative prompt in a call of its own.
        if self._encoded:
            return encode_prompt(*args, **kwargs)
        self._encoded = True
        given = call.arguments.get("prompt")
        usual = {name: each.default for name, each in call.signature.parameters.items() if each.default is not each.empty}
        guided = bool({**usual, **call.arguments}.get("do_classifier_free_guidance"))
        if given is None or self._source is None:
            self._calls.generation.guided = guided
            return encode_prompt(*args, **kwargs)
        prompts = self._source.read([given] if isinstance(given, str) else list(given), {**usual, **call.arguments})
        self._calls.begin(prompts, guided)
        texts = list(islice(cycle(prompts.texts), 1 if isinstance(given, str) else len(given)))
        others = ("prompt_2", "prompt_3", "prompt_4")
        for other in others:
            self._heed_other_prompt(other, call.arguments.get(other), given, prompts)
        alike = [name for name in ("prompt", *others) if call.arguments.get(name) == given]
        call.arguments.update(dict.fromkeys(alike, texts[0] if isinstance(given, str) else texts))
        with _tokens_read(self._pipeline) as read:
            encoded = encode_prompt(**call.arguments)
        self._source.check(prompts, {**usual, **call.arguments}, read)
        return encoded

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


def detach(pipeline: Any) -> None:
    """Take guidance off a pipeline; one that has none stays as it is."""
    for owner in (plain(denoiser_of(pipeline)), pipeline):
        attachment = getattr(owner, "__dict__", {}).get(_ATTACHED)
        if attachment is not None:
            attachment.detach()


@contextmanager
def _tokens_read(pipeline: Any) -> Iterator[list[list[int]]]:
    """Inside, collects the rows of tokens that the pipeline's text encoders are given."""
    rows: list[list[int]] = []

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(ids, torch.Tensor) and ids.ndim == 2 and not ids.is_floating_point():
            rows.extend(ids.tolist())

    encoders = [getattr(pipeline, f"text_encoder{number}", None) for number in ("", "_2", "_3", "_4")]
    handles = [each.register_forward_pre_hook(record, with_kwargs=True) for each in encoders if isinstance(each, nn.Module)]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def _unwrap(pipeline: Any, name: str, ours: Any, before: Any) -> None:
    """Give a pipeline its own method back, or what its user had put in that method's place."""
    if pipeline.__dict__.get(name) is not ours:
        return
    delattr(pipeline, name)
    if before is not None:
        setattr(pipeline, name, before)


@contextmanager
def weights_frozen(denoiser: nn.Module) -> Iterator[None]:
    """Inside, no weight asks for a gradient."""
    # By name: sequential offload puts new parameters in their places.
    trainable = {name for name, parameter in denoiser.named_parameters() if parameter.requires_grad}
    _set_trainable(denoiser, trainable, False)
    try:
        yield
    finally:
        _set_trainable(denoiser, trainable, True)


def _set_trainable(denoiser: nn.Module, names: set[str], trainable: bool) -> None:
    for name, parameter in denoiser.named_parameters():
        if name in names:
            parameter.requires_grad_(trainable)
