"""Inline marks: relations that a prompt itself states, in double braces.

    a cat and a dog in a park {{cat left_of dog; dog in_region bottom}}

The marks are taken out before the prompt is drawn. Statements are parted by ";" or line breaks, the grounds of one statement by
"," or "and": "bird between cat and dog". Names are looked up in the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from spatialguide.errors import PromptError, SceneError
from spatialguide.records import SPAN_ADVICE, from_record
from spatialguide.scene import Scene

#: At most one blank before the braces: a search for more would take quadratic time in a row of blanks.
_MARKS = re.compile(r"\s?\{\{([^{}]*)\}\}")


def is_marked(prompt: str, predicates: Collection[str]) -> bool:
    """Whether a prompt carries marks: double braces around a predicate. Others are weights, as in "{{masterpiece}}"."""
    families = _families(predicates)
    return any(_is_statement(mark, families) for mark in _MARKS.findall(prompt))


def _families(predicates: Collection[str]) -> set[str]:
    return {name.partition(":")[0] for name in predicates}


def _is_statement(mark: str, families: Collection[str]) -> bool:
    """Whether a mark holds a predicate, or between two words one that looks like it ("cat lef_of dog")."""
    words = mark.split()
    return any(word.partition(":")[0] in families for word in words) or any("_" in word for word in words[1:-1])


def read_marks(prompt: str, predicates: Collection[str]) -> Scene:
    """The scene of a marked prompt; its `prompt` is the text without the marks.

    Args:
        predicates: names of the relations, by which statements are cut into subject, predicate and grounds.

    Raises:
        PromptError: no marks, no text beside them, or a statement without a known predicate or with a name that the text lacks.
    """
    families = _families(predicates)
    marks = [mark for mark in _MARKS.findall(prompt) if _is_statement(mark, families)]
    if not marks:
        raise PromptError("the prompt has no marks: add relations such as {{cat left_of dog}}, or use another parser")
    text = _MARKS.sub(lambda mark: "" if _is_statement(mark[1], families) else mark[0], prompt).strip()
    if not text:
        raise PromptError(
            "beside its marks the prompt is empty: say what to draw, such as 'a cat and a dog {{cat left_of dog}}'"
        )
    return stated(text, (part for mark in marks for part in re.split(r"[;\n]", mark)), predicates)


def stated(prompt: str, statements: Iterable[str], predicates: Collection[str]) -> Scene:
    """The scene of a prompt in which these statements hold, each as in a mark; empty ones are passed over.

    Raises:
        PromptError: a statement without a known predicate, or with a name that the prompt lacks.
    """
    families = _families(predicates)
    triples = [_triple(statement, families) for statement in statements if statement.strip()]
    try:
        return from_record({"prompt": prompt, "relations": triples})
    except SceneError as error:
        fault = str(error)
        if fault.endswith(SPAN_ADVICE):
            fault = fault.removesuffix(SPAN_ADVICE) + "use the prompt's own words"
        raise PromptError(f"in the marks: {fault}") from error


def _triple(statement: str, predicates: Collection[str]) -> list[str]:
    words = statement.split()
    places = [place for place, word in enumerate(words) if word.partition(":")[0] in predicates]
    if not places or places[0] == 0:
        known = ", ".join(sorted(predicates))
        raise PromptError(f"'{statement.strip()}' is no relation: write subject, predicate, ground; predicates: {known}")
    at = places[0]
    grounds = [part.strip() for part in re.split(r",|\band\b", " ".join(words[at + 1 :]))]
    return [" ".join(words[:at]), words[at], *(ground for ground in grounds if ground)]
