"""Scenes as plain records: what `spatialguide parse --output` writes, and what people write by hand in JSON or YAML.

A record holds `prompt`, `objects` ([{id, text, attributes, count, span, phrase}]) and `relations`
([[subject, predicate, *grounds]], a place in the picture as [subject, "in_region", "top_left"]). By hand, `relations` will do:
its names are looked up in the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spatialguide.config import explain
from spatialguide.documents import DocumentError, parse_yaml, read_text
from spatialguide.errors import SceneError
from spatialguide.scenes.scene import MAX_PROMPT, Count, Relation, Scene, SceneObject, Span, Words

#: Relations "in_region:top_left" and so on, which records write as [subject, "in_region", "top_left"].
REGION = "in_region"
_Model = TypeVar("_Model", bound=BaseModel)
_STRICT = ConfigDict(extra="forbid", frozen=True)


class _Object(BaseModel):
    """An object as people write it: without a span it is looked up in the prompt."""

    model_config = _STRICT

    id: str | int | None = None
    text: Words
    attributes: tuple[Words, ...] = ()
    count: Count | None = 1
    span: Span | None = None
    phrase: Span | None = None
    again: tuple[Span, ...] = ()


class _Record(BaseModel):
    """A scene as people write it. What a gold file or a batch adds is read over."""

    model_config = _STRICT

    prompt: str | None = Field(default=None, max_length=MAX_PROMPT)
    objects: tuple[_Object, ...] = ()
    relations: tuple[Annotated[tuple[str | int, ...], Field(min_length=2)], ...] = ()
    id: Any = None
    category: Any = None
    ignored: Any = None
    problem: Any = None
    optional_objects: Any = None
    optional_relations: Any = None


def to_record(scene: Scene) -> dict[str, Any]:
    """A JSON-ready record of a scene."""
    ids = [f"o{number}" for number in range(1, len(scene.objects) + 1)]
    return {
        "prompt": scene.prompt,
        "objects": [
            {
                "id": key,
                "text": item.text,
                "attributes": list(item.attributes),
                "count": item.count,
                "span": list(item.span),
                "phrase": list(item.phrase),
                **({"again": [list(span) for span in item.again]} if item.again else {}),
            }
            for key, item in zip(ids, scene.objects, strict=True)
        ],
        "relations": [
            [ids[r.subject], *_written(r.predicate), *(ids[ground] for ground in r.objects)] for r in scene.relations
        ],
        "ignored": list(scene.ignored),
    }


def _written(predicate: str) -> list[str]:
    return predicate.split(":", 1) if predicate.startswith(f"{REGION}:") else [predicate]


def scene_from_triples(prompt: str, triples: Iterable[tuple[str, str, str | Sequence[str]]]) -> Scene:
    """Build a scene by hand: (subject, predicate, ground or grounds), by the names that the prompt gives them.

    >>> scene_from_triples("a cat beside a dog", [("cat", "left_of", "dog")]).describe()
    'objects: cat, dog; relations: cat left_of dog'

    Raises:
        SceneError: see `from_record`.
    """
    rows = [[subject, predicate, *([last] if isinstance(last, str) else last)] for subject, predicate, last in triples]
    return from_record({"prompt": prompt, "relations": rows})


def from_record(record: Mapping[str, Any], prompt: str | None = None) -> Scene:
    """A scene from a record, or from the dump of a `Scene`.

    Args:
        record: see the module. Objects without a span are found in the prompt: each takes the first whole words of its name
            (attributes and text, else the text, singular or plural) that no other has taken.
        prompt: used where the record has none.

    Raises:
        SceneError: an unknown key, a value of another form, a name that the prompt does not hold, two different prompts.
    """
    if not isinstance(record, Mapping):
        raise SceneError(f"a scene must hold the keys prompt, objects and relations, not be {type(record).__name__}")
    relations = record.get("relations")
    if isinstance(relations, Sequence) and any(isinstance(relation, Mapping) for relation in relations):
        scene = _validated(Scene, {"prompt": prompt, **record})
        _check_prompt(scene.prompt, prompt)
        return scene
    read = _validated(_Record, {key: value for key, value in record.items() if value is not None})
    text = read.prompt if read.prompt is not None else prompt
    if text is None:
        raise SceneError("the scene has no prompt: add the key 'prompt', or give the prompt beside the file")
    _check_prompt(text, prompt)
    return _Reader(text).read(read)


def _check_prompt(text: str, prompt: str | None) -> None:
    if prompt is not None and text != prompt:
        raise SceneError(f"the scene belongs to another prompt: '{text}', not '{prompt}'; leave out one of the two")


def load_scene(path: str | Path, prompt: str | None = None) -> Scene:
    """A scene from a JSON or YAML file.

    Raises:
        SceneError: the file cannot be read, or see `from_record`.
    """
    try:
        text = read_text(path)
    except (OSError, DocumentError) as error:
        raise SceneError(
            f"cannot read scene '{path}': {getattr(error, 'strerror', None) or error}; "
            "`spatialguide parse PROMPT --json` prints one"
        ) from error
    try:
        data = parse_yaml(text, words=True)
    except DocumentError as error:
        raise SceneError(
            f"'{path}' is neither JSON nor YAML: {error}; `spatialguide parse PROMPT --json` prints one"
        ) from error
    return from_record(data, prompt)


#: How an error about a name that the prompt lacks ends.
SPAN_ADVICE = "give the object a span"


#: "<lora:name:0.8>" and the like, which load a network and are no words of the prompt. Other tags are textual inversions.
_NETWORK_TAG = r"<(?i:lora|lyco|hypernet):[^<>\n]{1,80}>"
_INVERSION = r"<[^\s<>]{1,80}>"


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


class _Reader:
    """Turns names into objects of one prompt."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        words = re.sub(_NETWORK_TAG, _blank, prompt)
        #: Where names are looked up, in this order: "cat" means the word first, not a part of "<cat-toy>".
        self._readings = (re.sub(_INVERSION, _blank, words), words)
        self._objects: list[SceneObject] = []
        self._names: dict[str, int] = {}

    def read(self, record: _Record) -> Scene:
        for item in record.objects:
            self._add(item)
        edges = [self._relation([str(part) for part in relation]) for relation in record.relations]
        return _validated(Scene, {"prompt": self._prompt, "objects": self._objects, "relations": edges})

    def _add(self, item: _Object) -> None:
        span = item.span or self._place(item.text, item.attributes)
        index = len(self._objects)
        if item.id is not None and self._names.setdefault(str(item.id), index) != index:
            raise SceneError(f"two objects have the id '{item.id}': give each its own")
        for name in (item.text, " ".join([*item.attributes, item.text])):
            self._names.setdefault(name, index)
        self._objects.append(
            SceneObject(
                text=item.text,
                head=item.text.split()[-1],
                attributes=item.attributes,
                count=item.count,
                span=span,
                phrase=item.phrase or span,
                again=item.again,
            )
        )

    def _relation(self, parts: Sequence[str]) -> Relation:
        subject, predicate, *grounds = parts
        if predicate == REGION and len(grounds) == 1:
            predicate, grounds = f"{REGION}:{grounds[0]}", []
        return Relation(subject=self._index(subject), predicate=predicate, objects=tuple(self._index(g) for g in grounds))

    def _index(self, name: str) -> int:
        if name not in self._names:
            self._add(_validated(_Object, {"text": name}))
        return self._names[name]

    def _place(self, text: str, attributes: Sequence[str]) -> Span:
        """First whole words of the prompt that read so and that no other object has."""
        lead = "".join(rf"{re.escape(str(word))}[\s,]+(?:and\s+)?" for word in attributes)
        name = re.escape(text)
        for prompt in self._readings:
            for words in (rf"{lead}({name})", rf"({name})", rf"({name}e?s)"):
                for match in re.finditer(rf"(?<!\w){words}(?!\w)", prompt, re.IGNORECASE):
                    span = Span(*match.span(1))
                    if all(span.end <= o.span.start or o.span.end <= span.start for o in self._objects):
                        return span
        raise SceneError(f"'{text}' does not occur in the prompt '{self._prompt}': {SPAN_ADVICE}")


def _validated(model: type[_Model], data: Mapping[str, Any]) -> _Model:
    try:
        return model.model_validate(data)
    except (ValidationError, TypeError) as error:
        if isinstance(error, TypeError):
            raise SceneError(f"the keys of a scene must be text: {error}") from error
        raise SceneError(f"scene: {explain(error, model)}") from error
