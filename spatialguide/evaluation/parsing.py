"""Scores a parser's records against gold ones: relations exactly right per prompt, and triples, objects, attributes, counts.

Objects are matched by head noun (last word, in the singular); objects of one head noun by the words that they share.
Converse triples are equal, `next_to` is symmetric, and the grounds of `between` have no order. What gold calls optional
neither gains nor costs, nor does what follows from two places in the picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import networkx

from spatialguide.scenes.records import REGION

Record = Mapping[str, Any]
Triple = tuple[str, ...]

_CONVERSE = {
    "right_of": "left_of",
    "below": "above",
    "behind": "in_front_of",
    "contains": "inside",
    "surrounded_by": "surrounding",
}
_ALIASES = {
    "over": "above",
    "under": "below",
    "beneath": "below",
    "near": "next_to",
    "beside": "next_to",
    "around": "surrounding",
    "in": "inside",
    "on_top_of": "on",
    "at_region": REGION,
}
_SYMMETRIC = ("next_to",)
_COLUMNS = {"left": 0, "right": 2}
_ROWS = {"top": 0, "bottom": 2}
_IRREGULAR = {
    "sheep": "sheep",
    "knives": "knife",
    "children": "child",
    "people": "person",
    "mice": "mouse",
    "geese": "goose",
    "glasses": "glass",
    "boxes": "box",
    "men": "man",
    "women": "woman",
    "wolves": "wolf",
    "leaves": "leaf",
    "bus": "bus",
    "grass": "grass",
    "glass": "glass",
    "canvas": "canvas",
}


@dataclass
class Rates:
    """Precision, recall and F1 of a running count, in percent."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def add(self, right: int, wrong: int, missed: int) -> None:
        """Count one more prompt."""
        self.right += right
        self.wrong += wrong
        self.missed += missed

    @property
    def precision(self) -> float:
        """Share of what was found that is right; 100 where nothing was found."""
        return 100 * self.right / (self.right + self.wrong) if self.right + self.wrong else 100.0

    @property
    def recall(self) -> float:
        """Share of what is asked for that was found; 100 where nothing is."""
        return 100 * self.right / (self.right + self.missed) if self.right + self.missed else 100.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    def as_dict(self) -> dict[str, float]:
        """JSON-ready copy."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1}


@dataclass(frozen=True)
class Failure:
    """A prompt whose relations are not exactly right: triples that were missed, and triples that were made up."""

    identity: str
    prompt: str
    missed: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass
class ParserScores:
    """Scores over a gold set.

    by_category: prompts with exactly the right relations, and prompts. names: objects by whole name, `objects` by head noun.
    counts: objects whose number is right, and matched objects.
    """

    prompts: int = 0
    by_category: dict[str, tuple[int, int]] = field(default_factory=dict)
    triples: Rates = field(default_factory=Rates)
    by_relation: dict[str, Rates] = field(default_factory=lambda: defaultdict(Rates))
    objects: Rates = field(default_factory=Rates)
    names: Rates = field(default_factory=Rates)
    attributes: Rates = field(default_factory=Rates)
    counts: tuple[int, int] = (0, 0)
    failures: list[Failure] = field(default_factory=list)

    @property
    def count_accuracy(self) -> float:
        """Percentage of matched objects whose number is right."""
        return 100 * self.counts[0] / self.counts[1] if self.counts[1] else 100.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy, in percent."""
        return {
            "prompts": self.prompts,
            "exact": self.exact,
            "by_category": self.by_category,
            "by_relation": {name: rates.as_dict() for name, rates in self.by_relation.items()},
            "triples": self.triples.as_dict(),
            "objects": self.objects.as_dict(),
            "names": self.names.as_dict(),
            "attributes": self.attributes.as_dict(),
            "count_accuracy": self.count_accuracy,
            "failures": [vars(failure) for failure in self.failures],
        }

    def without_failures(self) -> ParserScores:
        """The same scores without a prompt to look at."""
        return replace(self, failures=[])

    @property
    def exact(self) -> float:
        """Percentage of prompts with exactly the right relations."""
        right = sum(right for right, _ in self.by_category.values())
        return 100 * right / self.prompts if self.prompts else 100.0


def score_records(gold: Iterable[Record], predicted: Iterable[Record]) -> ParserScores:
    """Score predictions; each is found by its "id", else by its "prompt". A prompt without one counts as empty."""
    by_id, by_prompt = {}, {}
    for record in predicted:
        by_id[record.get("id")] = by_prompt[record.get("prompt")] = record
    scores = ParserScores()
    for row in gold:
        _score(row, by_id.get(row["id"]) or by_prompt.get(row["prompt"]) or {}, scores)
    return scores


def _score(gold: Record, predicted: Record, scores: ParserScores) -> None:
    required, optional = gold["objects"], gold.get("optional_objects", [])
    found = predicted.get("objects", [])
    match = _match(found, [*required, *optional])
    scores.prompts += 1
    _score_relations(gold, predicted, match, scores)
    _score_objects(found, required, optional, match, scores)


def _score_relations(gold: Record, predicted: Record, match: Mapping[str, str], scores: ParserScores) -> None:
    wanted = {_canonical(triple) for triple in gold["relations"]}
    free = {_canonical(triple) for triple in gold.get("optional_relations", [])} | _implied(gold["relations"])
    named = {item["id"]: match.get(item["id"], f"? {item['text']} {item['id']}") for item in predicted.get("objects", [])}
    got = {_canonical(triple, named) for triple in predicted.get("relations", [])} - (free - wanted)
    category = gold.get("category", "")
    right, total = scores.by_category.get(category, (0, 0))
    scores.by_category[category] = (right + (got == wanted), total + 1)
    scores.triples.add(len(got & wanted), len(got - wanted), len(wanted - got))
    for triple in got | wanted:
        scores.by_relation[triple[1]].add(triple in got & wanted, triple in got - wanted, triple in wanted - got)
    if got != wanted:
        texts = {item["id"]: item["text"] for item in [*gold["objects"], *gold.get("optional_objects", [])]}
        missed, wrong = (
            tuple(sorted(" ".join(texts.get(part, part) for part in triple) for triple in triples))
            for triples in (wanted - got, got - wanted)
        )
        scores.failures.append(Failure(str(gold["id"]), gold["prompt"], missed, wrong))


def _score_objects(
    found: Sequence[Record],
    required: Sequence[Record],
    optional: Sequence[Record],
    match: Mapping[str, str],
    scores: ParserScores,
) -> None:
    wanted = {item["id"]: item for item in required}
    spare = {item["id"] for item in optional}
    hits = [item for item in found if match.get(item["id"]) in wanted]
    extra = [item for item in found if item["id"] not in match]
    scores.objects.add(len(hits), len(extra), len(wanted) - len(hits))
    same = sum(_name(item) == _name(wanted[match[item["id"]]]) for item in hits)
    used = sum(match.get(item["id"]) not in spare for item in found)
    scores.names.add(same, used - same, len(wanted) - same)
    for item in hits:
        goal = wanted[match[item["id"]]]
        mine, theirs = _attributes(item), _attributes(goal)
        # What one calls an attribute and the other a part of the name is no fault.
        named, called = set(_words(item["text"])[:-1]), set(_words(goal["text"]))
        scores.attributes.add(len(theirs & (mine | named)), len(mine - theirs - called), len(theirs - mine - named))
    for item in extra:
        scores.attributes.add(0, len(_attributes(item)), 0)
    missed = wanted.keys() - {match[item["id"]] for item in hits}
    for key in missed:
        scores.attributes.add(0, 0, len(_attributes(wanted[key])))
    right = sum(item.get("count", 1) == wanted[match[item["id"]]]["count"] for item in hits)
    scores.counts = (scores.counts[0] + right, scores.counts[1] + len(hits))


def _match(found: Sequence[Record], gold: Sequence[Record]) -> dict[str, str]:
    """Ids of found objects to ids of gold ones: as many as can be within each head noun, with the most words shared."""
    graph = networkx.Graph()
    for i, item in enumerate(found):
        for j, goal in enumerate(gold):
            if _singular(_words(item["text"])[-1]) == _singular(_words(goal["text"])[-1]):
                mine = _attributes(item) | set(_words(item["text"]))
                theirs = _attributes(goal) | set(_words(goal["text"]))
                shared = 3 * len(mine & theirs) - len(mine ^ theirs)
                # Of equals, the order of the prompt decides, and required before optional ones.
                graph.add_edge(("found", i), ("gold", j), weight=shared - 0.01 * abs(i - j) - 0.001 * j)
    pairs = (sorted(pair) for pair in networkx.max_weight_matching(graph, maxcardinality=True))
    return {found[first[1]]["id"]: gold[second[1]]["id"] for first, second in pairs}


def _canonical(triple: Sequence[str], named: Mapping[str, str] | None = None) -> Triple:
    """One form for a triple and its converse; `named` gives the gold ids of predicted objects."""
    subject, predicate, *rest = triple
    if named is not None:
        subject = named.get(subject, subject)
    predicate = _ALIASES.get(predicate, predicate)
    if predicate == REGION:
        return (subject, predicate, *(place.lower().replace("-", "_").replace("middle", "center") for place in rest))
    grounds = [named.get(ground, ground) if named is not None else ground for ground in rest]
    if predicate == "between":
        grounds = grounds * 2 if len(grounds) == 1 else grounds
        return (subject, predicate, *sorted(grounds))
    if predicate in _CONVERSE and len(grounds) == 1:
        predicate, subject, grounds = _CONVERSE[predicate], grounds[0], [subject]
    if predicate in _SYMMETRIC and len(grounds) == 1:
        subject, grounds[0] = sorted((subject, grounds[0]))
    return (subject, predicate, *grounds)


def _implied(triples: Iterable[Sequence[str]]) -> set[Triple]:
    """Directions that follow from places: "A on the left, B on the right"."""
    places = {triple[0]: triple[2].split("_") for triple in triples if triple[1] == REGION}
    found: set[Triple] = set()
    for first, second in permutations(places, 2):
        for table, predicate in ((_COLUMNS, "left_of"), (_ROWS, "above")):
            one, other = (next((table[p] for p in places[key] if p in table), 1) for key in (first, second))
            if one < other:
                found.add((first, predicate, second))
    return found


def _words(text: str) -> list[str]:
    return text.lower().replace("_", " ").split()


def _attributes(item: Record) -> set[str]:
    return {word for attribute in item.get("attributes") or [] for word in _words(attribute)}


def _name(item: Record) -> list[str]:
    *first, head = _words(item["text"])
    return [*first, _singular(head)]


def _singular(word: str) -> str:
    """A rough singular, the same for gold and prediction."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(("ss", "us")) or len(word) < 4:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word.removesuffix("s")
