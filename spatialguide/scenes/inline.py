"""Inline marks: relations that a prompt itself states, in double braces.

    a cat and a dog in a park {{cat left_of dog; dog in_region bottom}}

The marks are taken out before the prompt is drawn. Statements are parted by ";" or line breaks, the grounds of one statement by
"," or "and": "bird between cat and dog". Names are looked up in the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from spatialguide.errors import PromptError, SceneError
from spatialguide.scenes.records import REGION, SPAN_ADVICE, from_record
from spatialguide.scenes.scene import Scene

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


def stated(prompt: str, statements: Iterable[str], predicates: Collection[str], known: Scene | None = None) -> Scene:
    """The scene of a prompt in which these statements hold, each as in a mark; empty ones are passed over.

    Args:
        known: a scene of the prompt whose objects are kept; statements mean them, the first where several have a name.

    Raises:
        PromptError: a statement without a known predicate, or with a name that the prompt lacks.
    """
    families = _families(predicates)
    triples = [_triple(statement, families) for statement in statements if statement.strip()]
    record: dict[str, Any] = {"prompt": prompt, "relations": triples}
    if known is not None:
        ids = _ids(known)
        record["relations"] = triples = [_with_ids(triple, ids) for triple in triples]
        # In the order in which statements name them, as objects of marks are.
        objects = {f"#{index}": item for index, item in enumerate(known.objects)}
        order = dict.fromkeys([part for triple in triples for part in triple if part in objects] + list(objects))
        record["objects"] = [{"id": key, **objects[key].model_dump(mode="json", exclude={"head"})} for key in order]
    try:
        return from_record(record)
    except SceneError as error:
        fault = str(error)
        if fault.endswith(SPAN_ADVICE):
            fault = fault.removesuffix(SPAN_ADVICE) + "use the prompt's own words"
        raise PromptError(f"in the {'marks' if known is None else 'relations'}: {fault}") from error


def _ids(scene: Scene) -> dict[str, str]:
    """Ids of a scene's objects by what people may call them, in lower case: the scene's own names, then the prompt's words."""
    ids: dict[str, str] = {}
    for index in range(len(scene.objects)):
        ids.setdefault(scene.name(index).lower(), f"#{index}")
    for index, item in enumerate(scene.objects):
        for name in (item.text, scene.prompt[slice(*item.phrase)], scene.prompt[slice(*item.span)], item.head):
            ids.setdefault(name.lower(), f"#{index}")
    return ids


def _with_ids(triple: list[str], ids: Mapping[str, str]) -> list[str]:
    subject, predicate, *grounds = triple
    if predicate != REGION:  # whose ground is a place, not an object
        grounds = [ids.get(ground.lower(), ground) for ground in grounds]
    return [ids.get(subject.lower(), subject), predicate, *grounds]


def _triple(statement: str, predicates: Collection[str]) -> list[str]:
    words = statement.split()
    places = [place for place, word in enumerate(words) if word.partition(":")[0] in predicates]
    if not places or places[0] == 0:
        known = ", ".join(sorted(predicates))
        raise PromptError(f"'{statement.strip()}' is no relation: write subject, predicate, ground; predicates: {known}")
    at = places[0]
    grounds = [part.strip() for part in re.split(r",|\band\b", " ".join(words[at + 1 :]))]
    return [" ".join(words[:at]), words[at], *(ground for ground in grounds if ground)]
