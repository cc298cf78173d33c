"""The scene: what a prompt says is there, and where.

Indices into `Scene.objects` stand for objects everywhere; spans are character offsets into the prompt as the user wrote it.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_FROZEN = ConfigDict(frozen=True, extra="forbid")
#: Characters of a prompt, several times what any text encoder reads.
MAX_PROMPT = 10_000
#: Largest number asked for of one thing: more are "several", whose count is None.
MAX_COUNT = 10_000
#: A number of things; no truth value.
Count = Annotated[int, Field(ge=1, le=MAX_COUNT, strict=True)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("a name must not be blank")
    return text


#: The name of a thing.
Words = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_not_blank)]


class Span(NamedTuple):
    """Half-open range of characters [start, end) in the prompt."""

    start: int
    end: int


class SceneObject(BaseModel):
    """One thing to draw.

    text: singular name, compounds whole ("traffic light"). head: its last noun ("light").
    count: number asked for; None for a plural without a number.
    span: the name in the prompt, without articles and attributes. phrase: the whole noun phrase. again: the name where it is
        said once more ("a cat above a bus, the cat is left of a tree").
    """

    model_config = _FROZEN

    text: Words
    head: Words
    attributes: tuple[str, ...] = ()
    count: Count | None = 1
    span: Span
    phrase: Span
    again: tuple[Span, ...] = ()


class Relation(BaseModel):
    """`subject` predicate `objects`: "a cat left of a dog" is Relation(subject=cat, predicate="left_of", objects=(dog,)).

    A place in the picture has no objects: Relation(subject=cat, predicate="in_region:top_left").

    confidence: of relations that the parser found in this way, the share that is right; None where it does not say.
    """

    model_config = _FROZEN

    subject: int = Field(ge=0)
    predicate: str
    objects: tuple[Annotated[int, Field(ge=0)], ...] = ()
    span: Span | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)


class Scene(BaseModel):
    """Objects and relations of one prompt.

    ignored: what the parser saw and left out, and why, one line each.
    unknown: phrases between objects that look like relations, but that no relation plugin has.
    """

    model_config = _FROZEN

    prompt: str = Field(max_length=MAX_PROMPT)
    objects: tuple[SceneObject, ...] = ()
    relations: tuple[Relation, ...] = ()
    ignored: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Scene:
        length = len(self.prompt)
        for item in self.objects:
            for span in (item.span, item.phrase, *item.again):
                if not 0 <= span.start < span.end <= length:
                    raise ValueError(
                        f"object '{item.text}': span {tuple(span)} is outside the prompt (0..{length}): count its characters"
                    )
        for relation in self.relations:
            indices = (relation.subject, *relation.objects)
            if max(indices) >= len(self.objects):
                raise ValueError(
                    f"relation {relation.predicate} {indices} names an object that the scene lacks: "
                    f"its {len(self.objects)} are numbered from 0"
                )
            if relation.subject in relation.objects:
                name = self.objects[relation.subject].text
                raise ValueError(f"relation {relation.predicate} relates '{name}' to itself: name another object")
        return self

    def name(self, index: int) -> str:
        """Display name of an object: attributes and text, told apart by number if another has the same."""
        labels = [" ".join((*o.attributes, o.text)) for o in self.objects]
        label = labels[index]
        return f"{label} ({labels[: index + 1].count(label)})" if labels.count(label) > 1 else label

    @property
    def structure(self) -> tuple[tuple[int | None, ...], tuple[tuple[int, str, tuple[int, ...]], ...]]:
        """The scene without its words: how often each object is asked for, and the relations."""
        return (
            tuple(item.count for item in self.objects),
            tuple((relation.subject, relation.predicate, relation.objects) for relation in self.relations),
        )

    @property
    def attribute_spans(self) -> tuple[tuple[int, Span], ...]:
        """Where attributes stand in the prompt: the object's index and the characters, for those that are there.

        In the object's own phrase, else where there is no object's phrase ("a car that is red").
        """
        found = []
        for index, item in enumerate(self.objects):
            for word in item.attributes:
                places = [Span(*each.span()) for each in re.finditer(rf"\b{re.escape(word)}\b", self.prompt, re.IGNORECASE)]
                own = [each for each in places if _meet(each, item.phrase) and not _meet(each, item.span)]
                loose = [each for each in places if not any(_meet(each, other.phrase) for other in self.objects)]
                found += [(index, each) for each in (own or loose)[:1]]
        return tuple(found)

    def describe(self) -> str:
        """One line in plain words: 'objects: cat, dog; relations: cat left_of dog'."""
        objects = ", ".join(self.name(i) for i in range(len(self.objects))) or "none"
        relations = ", ".join(self.sentence(r) for r in self.relations) or "none"
        return f"objects: {objects}; relations: {relations}"

    def sentence(self, relation: Relation) -> str:
        """'cat left_of dog'."""
        grounds = " and ".join(self.name(i) for i in relation.objects)
        return f"{self.name(relation.subject)} {relation.predicate.replace(':', ' ')} {grounds}".rstrip()


def _meet(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end
