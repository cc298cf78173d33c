"""Binding: from character spans of objects to the token positions that the denoiser's attention sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from spatialguide.errors import BindingError
from spatialguide.scenes.scene import Scene, Span


@dataclass(frozen=True)
class Encoding:
    """A stretch of the denoiser's text axis.

    Attributes:
        tokenizer: a transformers tokenizer.
        start: position of the stretch's first token. SDXL's two encoders share their positions; SD3's T5 comes after CLIP's.
        convert: what the pipeline does to the prompt before: textual inversions of several vectors get a token for each.
        lowered: whether the pipeline lowers and strips the prompt before its tokenizer sees it, as PixArt's do.
    """

    tokenizer: Any
    start: int = 0
    lowered: bool = False
    convert: Callable[[str], str] | None = None


def encodings(pipeline: Any) -> list[Encoding]:
    """The stretches that a pipeline's tokenizers fill."""
    found = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2")]
    # PixArt's pipelines and their kin clean captions with this method.
    lowered = hasattr(pipeline, "_clean_caption")
    convert = getattr(pipeline, "maybe_convert_prompt", None)
    stretches = [
        Encoding(tokenizer, lowered=lowered, convert=None if convert is None else partial(convert, tokenizer=tokenizer))
        for tokenizer in found
        if tokenizer is not None
    ]
    third = getattr(pipeline, "tokenizer_3", None)
    if third is not None and getattr(pipeline, "text_encoder_3", None) is not None:
        stretches.append(Encoding(third, start=pipeline.tokenizer_max_length))
    return stretches


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


def bind_object(scene: Scene, index: int, encoding: Encoding, offsets: Sequence[Span]) -> tuple[int, ...]:
    """Token positions of one object in one stretch of the text axis.

    An object's tokens are those that overlap its name; the characters decide, so that repeated nouns stay apart.

    Args:
        offsets: spans of the tokens in the prompt as it was written.

    Raises:
        BindingError: a token of the object lies beyond the encoder's length limit, or it has none.
    """
    span, limit = scene.objects[index].span, encoding.tokenizer.model_max_length
    positions = [
        position
        for position, token in enumerate(offsets)
        if token.start < token.end and token.start < span.end and span.start < token.end
    ]
    if not positions:
        raise BindingError(f"object '{scene.name(index)}' has no token: the tokenizer drops its characters; write it in others")
    # The last visible position belongs to the end-of-text token.
    if positions[-1] > limit - 2:
        raise BindingError(
            f"object '{scene.name(index)}' is token {positions[-1]} of the prompt, but the text encoder reads only "
            f"{limit} tokens: shorten the prompt or name the objects earlier; for longer prompt_embeds name attach(tokens=...)"
        )
    return tuple(encoding.start + position for position in positions)


def _offsets(prompt: str, encoding: Encoding) -> list[Span]:
    """Spans of the tokens in the prompt as it was written."""
    text, origins = prompt, [Span(number, number + 1) for number in range(len(prompt))]
    if encoding.convert is not None and encoding.convert(prompt) != prompt:
        text, origins = _converted(prompt, encoding.convert, encoding.tokenizer)
    if encoding.lowered:
        # Some characters are longer in lower case.
        first = len(text) - len(text.lstrip())
        origins = [origins[first + number] for number, each in enumerate(text.strip()) for _ in each.lower()]
        text = text.lower().strip()
    return [
        Span(origins[token.start].start, origins[token.end - 1].end) if token.start < token.end else Span(0, 0)
        for token in token_offsets(encoding.tokenizer, text)
    ]


def _converted(prompt: str, convert: Callable[[str], str], tokenizer: Any) -> tuple[str, list[Span]]:
    """The prompt with a token for each vector of its textual inversions, and where each of its characters came from."""
    names = [name for name in tokenizer.get_added_vocab() if name in prompt and convert(name) != name]
    pieces, origins, end = [], list[Span](), 0
    for found in re.finditer("|".join(map(re.escape, sorted(names, key=len, reverse=True))), prompt) if names else ():
        before, made = prompt[end : found.start()], convert(found[0])
        origins += [Span(end + number, end + number + 1) for number in range(len(before))] + [Span(*found.span())] * len(made)
        pieces += [before, made]
        end = found.end()
    rest = prompt[end:]
    return "".join([*pieces, rest]), origins + [Span(end + number, end + number + 1) for number in range(len(rest))]


def bind(scene: Scene, stretches: Sequence[Encoding]) -> tuple[tuple[int, ...], ...]:
    """Token positions of each object over all of a pipeline's text encoders.

    A longer encoder may read what a shorter one cuts off (SD3: T5 reads more than CLIP).

    Raises:
        BindingError: an object that no encoder reads; see `bind_object`.
    """
    offsets = [_offsets(scene.prompt, encoding) for encoding in stretches]
    bound = []
    for index in range(len(scene.objects)):
        positions: set[int] = set()
        fault: BindingError | None = None
        for encoding, spans in zip(stretches, offsets, strict=True):
            try:
                positions.update(bind_object(scene, index, encoding, spans))
            except BindingError as error:
                fault = error
        if fault is not None and not positions:
            raise fault
        bound.append(tuple(sorted(positions)))
    return tuple(bound)
