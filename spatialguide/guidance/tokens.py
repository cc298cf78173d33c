"""Binding: from character spans of objects to the token positions that the denoiser's attention sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
        start: position of the stretch's first token; negative where the pipeline drops tokens at the beginning.
        lowered: whether the pipeline lowers and strips the prompt before its tokenizer sees it, as PixArt's do.
        convert: what the pipeline does to the prompt before: textual inversions of several vectors get a token for each.
        wrap: what the tokenizer is given for a prompt, where the pipeline puts instructions or a chat around it.
        special: whether the tokenizer adds its special tokens, which a chat has already.
        from_end: the tokenizer pads on the left, so that positions count from the end of the text.
        limit: tokens that the text encoder reads; by default what the tokenizer says.
    """

    tokenizer: Any
    start: int = 0
    lowered: bool = False
    convert: Callable[[str], str] | None = None
    wrap: Callable[[str], str] | None = None
    special: bool = True
    from_end: bool = False
    limit: int | None = None


def _encoding(pipeline: Any, name: str, **options: Any) -> list[Encoding]:
    """The stretch of one of the pipeline's tokenizers, if it has that."""
    tokenizer = getattr(pipeline, name, None)
    if tokenizer is None or getattr(pipeline, name.replace("tokenizer", "text_encoder"), tokenizer) is None:
        return []
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor of pictures and texts holds one
    convert = getattr(pipeline, "maybe_convert_prompt", None)
    options.setdefault("convert", None if convert is None else partial(convert, tokenizer=tokenizer))
    options.setdefault("from_end", getattr(tokenizer, "padding_side", "right") == "left")
    # PixArt's pipelines and their kin clean captions with this method.
    return [Encoding(tokenizer, lowered=hasattr(pipeline, "_clean_caption"), **options)]


# What the text of a denoiser is made of: from a pipeline and the arguments of its text encoding to stretches.


def shared(pipeline: Any, call: Mapping[str, Any]) -> list[Encoding]:
    """One or two encoders that share their positions (SDXL), and the third's after them (SD3's T5)."""
    both = _encoding(pipeline, "tokenizer") + _encoding(pipeline, "tokenizer_2")
    return both + _encoding(pipeline, "tokenizer_3", start=getattr(pipeline, "tokenizer_max_length", 0))


def second(pipeline: Any, call: Mapping[str, Any]) -> list[Encoding]:
    """The second encoder's alone: the first gives only a summary of the text (FLUX.1)."""
    return _encoding(pipeline, "tokenizer_2")


def templated(pipeline: Any, call: Mapping[str, Any]) -> list[Encoding]:
    """A template of the pipeline's, whose beginning is dropped after encoding (Qwen-Image, Kandinsky 5)."""
    template: str = getattr(pipeline, "prompt_template_encode", None) or pipeline.prompt_template
    return _encoding(pipeline, "tokenizer", start=-pipeline.prompt_template_encode_start_idx, wrap=template.format)


def chat(pipeline: Any, call: Mapping[str, Any]) -> list[Encoding]:
    """A chat of one message, whose tokens all stay (Z-Image, FLUX.2)."""
    system = call.get("system_message", getattr(pipeline, "system_message", None))
    holder = pipeline.tokenizer

    def wrap(prompt: str) -> str:
        if system is None:
            options = {"add_generation_prompt": True, "enable_thinking": "Klein" not in type(pipeline).__name__}
            chat = [{"role": "user", "content": prompt}]
        else:
            options = {"add_generation_prompt": False}
            parts = [("system", system), ("user", prompt)]
            chat = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in parts]  # type: ignore[dict-item]
        text: str = holder.apply_chat_template(chat, tokenize=False, **options)
        return text

    # Z-Image takes the padding out again.
    from_end = {"from_end": False} if "ZImage" in type(pipeline).__name__ else {}
    return _encoding(pipeline, "tokenizer", wrap=wrap, special=system is None, **from_end)


def instructed(pipeline: Any, call: Mapping[str, Any]) -> list[Encoding]:
    """Instructions before the prompt, of which only the first token stays (Sana)."""
    lines = call.get("complex_human_instruction")
    if not lines:
        return _encoding(pipeline, "tokenizer", from_end=False)
    text = "\n".join(lines)
    dropped = len(pipeline.tokenizer.encode(text)) - 2
    return _encoding(pipeline, "tokenizer", start=-dropped, wrap=lambda prompt: text + prompt, from_end=False)


def system(pipeline: Any, call: Mapping[str, Any]) -> list[Encoding]:
    """A system prompt before the prompt (Lumina 2)."""
    before = f"{call.get('system_prompt') or pipeline.system_prompt} <Prompt Start> "
    return _encoding(pipeline, "tokenizer", wrap=lambda prompt: before + prompt)


def third_and_fourth(pipeline: Any, call: Mapping[str, Any]) -> list[Encoding]:
    """The third encoder's, then the fourth's twice, at two of its depths (HiDream)."""
    asked = call.get("max_sequence_length") or 128
    third, fourth = (min(asked, getattr(pipeline, name).model_max_length) for name in ("tokenizer_3", "tokenizer_4"))
    # An end-of-text token follows the third's words, and none the fourth's.
    stretches = [("tokenizer_3", 0, third), ("tokenizer_4", third, fourth + 1), ("tokenizer_4", third + fourth, fourth + 1)]
    return [each for name, start, limit in stretches for each in _encoding(pipeline, name, start=start, limit=limit)]


def token_offsets(tokenizer: Any, text: str, special: bool = True) -> list[Span]:
    """Character span of every token, special ones included as empty spans, without truncation.

    Args:
        tokenizer: a transformers tokenizer. Slow ones are converted, since only fast ones keep offsets.
        special: whether it adds its special tokens.
    """
    if getattr(tokenizer, "is_fast", False):
        # The warning about over-long input is ours to give, with the object's name.
        encoded = tokenizer(text, return_offsets_mapping=True, truncation=False, verbose=False, add_special_tokens=special)
        return [Span(*pair) for pair in encoded["offset_mapping"]]
    from transformers.convert_slow_tokenizer import convert_slow_tokenizer

    return [Span(*pair) for pair in convert_slow_tokenizer(tokenizer).encode(text, add_special_tokens=special).offsets]


def bind_object(scene: Scene, index: int, encoding: Encoding, offsets: Sequence[Span]) -> tuple[int, ...]:
    """Token positions of one object in one stretch of the text axis.

    An object's tokens are those that overlap its name, wherever it is said; the characters decide, so that repeated nouns stay
    apart.

    Args:
        offsets: spans of the tokens in the prompt as it was written.

    Raises:
        BindingError: a token of the object lies beyond the encoder's length limit, or it has none.
    """
    item, what = scene.objects[index], f"object '{scene.name(index)}'"
    return _bind_span((item.span, *item.again), what, encoding, offsets)


def _bind_span(spans: Sequence[Span], what: str, encoding: Encoding, offsets: Sequence[Span]) -> tuple[int, ...]:
    limit = encoding.limit or encoding.tokenizer.model_max_length
    positions = [
        position
        for position, token in enumerate(offsets)
        if token.start < token.end and any(token.start < span.end and span.start < token.end for span in spans)
    ]
    if not positions:
        raise BindingError(f"{what} has no token: the tokenizer drops its characters; write it in others")
    # The last visible position belongs to the end-of-text token.
    read = [position for position in positions if position <= limit - 2]
    if not read or (len(read) < len(positions) and len(spans) == 1):
        raise BindingError(
            f"{what} is token {positions[-1]} of the prompt, but the text encoder reads only "
            f"{limit} tokens: shorten the prompt or name the objects earlier; for longer prompt_embeds name attach(tokens=...)"
        )
    first = -len(offsets) if encoding.from_end else encoding.start
    return tuple(first + position for position in read)


def bind_ids(scene: Scene, tokenizer: Any, ids: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Positions of each object's tokens among those that a text encoder was given, for `attach(tokens=[...])`.

    For long `prompt_embeds`, whose prompt is read in chunks of 77: where each chunk ends depends on what made them.

    Args:
        tokenizer: a transformers tokenizer.
        ids: all chunks after one another, with begin, end and padding.

    Raises:
        BindingError: the ids are not those of the scene's prompt, or an object has no token.
    """
    places, inside = [], True
    for place, each in enumerate(ids):
        if each in (tokenizer.bos_token_id, tokenizer.eos_token_id):
            inside = each == tokenizer.bos_token_id and each != tokenizer.eos_token_id
        elif inside:
            places.append(place)
    own = tokenizer(scene.prompt, truncation=False, verbose=False, add_special_tokens=False)["input_ids"]
    if [ids[place] for place in places] != own:
        raise BindingError(f"the ids are not those of the prompt '{scene.prompt}': give the scene of the encoded words")
    offsets = token_offsets(tokenizer, scene.prompt, special=False)
    unbounded = Encoding(tokenizer, limit=len(offsets) + 2)
    bound = (bind_object(scene, index, unbounded, offsets) for index in range(len(scene.objects)))
    return tuple(tuple(places[number] for number in numbers) for numbers in bound)


def reads_as(prompt: str, encoding: Encoding, rows: Sequence[Sequence[int]]) -> bool:
    """Whether a text encoder was given a prompt's tokens, in one of the rows that it was given, as far as these go."""
    text = prompt if encoding.convert is None else encoding.convert(prompt)
    text = text.lower().strip() if encoding.lowered else text
    whole = text if encoding.wrap is None else encoding.wrap(text)
    ids: list[int] = encoding.tokenizer(whole, truncation=False, verbose=False, add_special_tokens=encoding.special)[
        "input_ids"
    ]
    for row in rows:
        starts = range(len(row) - len(ids) + 1) if len(ids) <= len(row) else range(1)
        # The end-of-text token stands elsewhere in a text that was cut.
        compared = ids if len(ids) <= len(row) else ids[: len(row) - 1]
        if any(list(row[start : start + len(compared)]) == compared for start in starts):
            return True
    return False


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
    whole = text if encoding.wrap is None else encoding.wrap(text)
    at = whole.rfind(text)
    if at < 0:
        raise BindingError(
            "the pipeline's template changes the prompt, so that its words cannot be found: name attach(tokens=...)"
        )
    inside = [
        Span(max(token.start - at, 0), min(token.end - at, len(text)))
        for token in token_offsets(encoding.tokenizer, whole, encoding.special)
    ]
    return [
        Span(origins[token.start].start, origins[token.end - 1].end) if token.start < token.end else Span(0, 0)
        for token in inside
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
    spans = [(f"object '{scene.name(i)}'", (item.span, *item.again)) for i, item in enumerate(scene.objects)]
    return _bind_spans(spans, scene, stretches)


def bind_attributes(scene: Scene, stretches: Sequence[Encoding]) -> tuple[tuple[int, ...], ...]:
    """Token positions of each of the scene's `attribute_spans`, in the same way; none where one of them is not read."""
    try:
        return _bind_spans([("an attribute", (span,)) for _, span in scene.attribute_spans], scene, stretches)
    except BindingError:
        return ()


def _bind_spans(
    spans: Sequence[tuple[str, Sequence[Span]]], scene: Scene, stretches: Sequence[Encoding]
) -> tuple[tuple[int, ...], ...]:
    offsets = [_offsets(scene.prompt, encoding) for encoding in stretches] if spans else []
    bound = []
    for what, places in spans:
        positions: set[int] = set()
        fault: BindingError | None = None
        for encoding, tokens in zip(stretches, offsets, strict=True):
            try:
                positions.update(_bind_span(places, what, encoding, tokens))
            except BindingError as error:
                fault = error
        if fault is not None and not positions:
            raise fault
        bound.append(tuple(sorted(positions)))
    return tuple(bound)
