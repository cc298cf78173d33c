"""The clause: what is known at one point of a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field

from spatialguide_parsers.english.elements import Element

Group = tuple[int, ...]


@dataclass
class Clause:
    """What the reader knows at one point of a sentence. Groups are indices of objects.

    subject, outer: of the clause, and of the clause around a relative one.
    figure: what the next phrase is about; None after something that is not there ("no dog").
    denied, refused: the next phrase is said not to hold ("not to the left of"), and the last one was.
    lost: the subject is a pronoun that stands for nothing named before.
    placed: a thing of this sentence has a place in the picture.
    aside: the noun after a preposition that says no place ("stares at a goldfish").
    nearest, topic, mentioned: the last noun, the first subject, and all nouns of the sentence.
    nearest_before: the noun before `nearest`.
    host, guests: "a host with guests".
    waiting: opening phrases that have no figure yet.
    sharing: phrases that wait for the ground of the next ("above and to the right of a post").
    antecedent: what a relative pronoun stands for, where it is not the subject ("the stool that a man sits on").
    resolved: what pronouns of this sentence stood for.
    pair: figures and grounds of the last phrase, for "them".
    anchor: grounds of the opening phrase before, for "its" in the next one.
    verb: the last finite verb.
    before, opening: kind of the last element, and whether a clause opens here.
    """

    subject: Group = ()
    outer: Group = ()
    figure: Group | None = ()
    denied: bool = False
    refused: bool = False
    lost: bool = False
    placed: bool = False
    aside: Group = ()
    nearest: Group = ()
    nearest_before: Group = ()
    host: Group = ()
    guests: Group = ()
    waiting: list[tuple[Element, Group]] = field(default_factory=list)
    sharing: list[Element] = field(default_factory=list)
    antecedent: Group = ()
    resolved: dict[str, Group] = field(default_factory=dict)
    pair: Group = ()
    anchor: Group = ()
    verb: str = ""
    before: str = "stop"
    opening: bool = True
    topic: Group = ()
    mentioned: Group = ()
