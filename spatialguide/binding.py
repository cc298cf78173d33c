"""Binding: from character spans of objects to the token positions that the denoiser's cross-attention sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spatialguide.errors import BindingError
from spatialguide.scene import Scene, Span


def token_offsets(tokenizer: Any, prompt: str) -> list[Span]:
    """Character span of every token, special ones included as empty spans, without truncation.

    Args:
        tokenizer: a transformers tokenizer. Slow ones are converted, since only fast ones keep offsets.
    """
    if getattr(tokenizer, "is_fast", False):
        # The warning about over-long input is ours to give, with the object's name.
        encoded = tokenizer(prompt, return_offsets_mapping=True, truncation=False, verbose=False)
        return [Span(*pair) for pair in encoded["offset_mapping"]]
    from transformers.convert_slow_tokenizer import convert_slow_tokenizer

    return [Span(*pair) for pair in convert_slow_tokenizer(tokenizer).encode(prompt).offsets]


def bind_tokenizer(scene: Scene, tokenizer: Any) -> tuple[tuple[int, ...], ...]:
    """Token positions of each object of the scene for one tokenizer.

    An object's tokens are those that overlap its name; the characters decide, so that repeated nouns stay apart.

    Raises:
        BindingError: a token of an object lies beyond the encoder's length limit, or an object has no token.
    """
    offsets = token_offsets(tokenizer, scene.prompt)
    limit = tokenizer.model_max_length
    # The last visible position belongs to the end-of-text token.
    last = limit - 2
    bound = []
    for index, item in enumerate(scene.objects):
        positions = tuple(
            position
            for position, token in enumerate(offsets)
            if token.start < token.end and token.start < item.span.end and item.span.start < token.end
        )
        if not positions:
            raise BindingError(f"object '{scene.name(index)}' has no token: the tokenizer drops its characters")
        if positions[-1] > last:
            raise BindingError(
                f"object '{scene.name(index)}' is token {positions[-1]} of the prompt, but the text encoder reads only "
                f"{limit} tokens: shorten the prompt or name the objects earlier"
            )
        bound.append(positions)
    return tuple(bound)


def bind(scene: Scene, tokenizers: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """Token positions of each object over all of a pipeline's text encoders that share one token axis (SDXL: two).

    Raises:
        BindingError: see `bind_tokenizer`.
    """
    per_encoder = [bind_tokenizer(scene, tokenizer) for tokenizer in tokenizers]
    return tuple(tuple(sorted(set().union(*positions))) for positions in zip(*per_encoder, strict=True))


def pipeline_tokenizers(pipeline: Any) -> list[Any]:
    """The pipeline's tokenizers, in order."""
    found = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")]
    return [tokenizer for tokenizer in found if tokenizer is not None]
