"""SR2D, the prompts of VISOR (Gokhale et al., arXiv 2212.10015), over any list of object names."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any

from spatialguide.documents import parse_json
from spatialguide.errors import EvaluationError

#: SR2D's relations in its order.
RELATION_PHRASES = ("to the left of", "to the right of", "above", "below")
DATA = resources.files("spatialguide.evaluation") / "data"


def bundled_names(which: str) -> list[str]:
    """A bundled list of object names: "coco" (VISOR's 80) or "nouns"."""
    return (DATA / f"{which}.txt").read_text(encoding="utf-8").splitlines()


def inflector() -> Any:
    """inflect's engine: articles and plurals.

    Raises:
        EvaluationError: it is not installed.
    """
    try:
        import inflect
    except ImportError as error:
        raise EvaluationError('prompts of benchmarks need inflect: pip install "spatialguide[bench]"') from error
    return inflect.engine()


def read_lines(file: str) -> list[str]:
    """Lines of a publication's file, empty ones left out.

    Raises:
        EvaluationError: it cannot be read.
    """
    try:
        return [line for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"cannot read '{file}': {error}; give the path of the publication's file") from error


def read_objects(file: str) -> list[dict[str, Any]]:
    """Objects of a publication's file of JSON lines.

    Raises:
        EvaluationError: it cannot be read, or a line is no JSON object.
    """
    try:
        lines = [parse_json(line) for line in read_lines(file)]
    except ValueError as error:
        raise EvaluationError(
            f"'{file}' does not hold one JSON object per line: {error}; give the publication's .jsonl"
        ) from error
    if not all(isinstance(line, dict) for line in lines):
        raise EvaluationError(f"'{file}' holds lines that are no JSON objects; give the publication's .jsonl")
    return lines


@dataclass(frozen=True)
class Sr2dPrompt:
    """One prompt. relation: one of RELATION_PHRASES, "and", or "single", which has no ground."""

    text: str
    subject: str
    relation: str
    ground: str | None

    @property
    def is_spatial(self) -> bool:
        """Whether VISOR counts it."""
        return self.relation in RELATION_PHRASES


def sr2d(names: Sequence[str]) -> list[Sr2dPrompt]:
    """All prompts; the place in the list is SR2D's number, from 0.

    For every unordered pair of names (A, B): each relation both ways round, then "A and B", "B and A"; after all pairs the
    single names. 80 names give 31,680 prompts.
    """
    return list(_sr2d(names))


def _sr2d(names: Sequence[str]) -> Iterator[Sr2dPrompt]:
    engine = inflector()
    article = {name: engine.an(name) for name in names}
    for first, second in combinations(names, 2):
        for relation in (*RELATION_PHRASES, "and"):
            for subject, ground in ((first, second), (second, first)):
                yield Sr2dPrompt(f"{article[subject]} {relation} {article[ground]}", subject, relation, ground)
    for name in names:
        yield Sr2dPrompt(article[name], name, "single", None)


def sr2d_prompts(names: Sequence[str]) -> list[str]:
    """The texts that VISOR counts: two objects and a relation; 25,280 for 80 names."""
    return [prompt.text for prompt in sr2d(names) if prompt.is_spatial]


def sample_prompts(names: Sequence[str], count: int, seed: int, pairs: Collection[frozenset[str]] | None = None) -> list[str]:
    """A sample spread evenly over the four relations, without repeats.

    Args:
        count: how many; all that there are, if fewer.
        pairs: only prompts of these pairs of names.
    """
    rng = random.Random(seed)
    prompts = [p for p in sr2d(names) if p.is_spatial and (pairs is None or frozenset((p.subject, p.ground or "")) in pairs)]
    by_relation = {relation: [p.text for p in prompts if p.relation == relation] for relation in RELATION_PHRASES}
    for texts in by_relation.values():
        rng.shuffle(texts)
    mixed = [text for group in zip(*by_relation.values(), strict=True) for text in group]
    return mixed[:count]


def sample_swapped(names: Sequence[str], count: int, seed: int, pairs: Collection[frozenset[str]] | None = None) -> list[str]:
    """Prompts in twos, one after another, "a cat above a dog" and "a dog above a cat", spread evenly over the four relations.

    Args:
        count: how many prompts at most; whole twos.
        pairs: only prompts of these pairs of names.
    """
    rng = random.Random(seed)
    prompts = [p for p in sr2d(names) if p.is_spatial and (pairs is None or frozenset((p.subject, p.ground or "")) in pairs)]
    by_relation: dict[str, list[tuple[Sr2dPrompt, Sr2dPrompt]]] = {relation: [] for relation in RELATION_PHRASES}
    for one, other in zip(prompts[::2], prompts[1::2], strict=True):
        by_relation[one.relation].append((one, other))
    for twos in by_relation.values():
        rng.shuffle(twos)
    mixed = [two for group in zip(*by_relation.values(), strict=True) for two in group]
    return [prompt.text for two in mixed[: count // 2] for prompt in rng.sample(two, 2)]
