"""The parser benchmark: prompts from templates, hand-written gold prompts by class, and speed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources.abc import Traversable
from itertools import islice
from pathlib import Path
from typing import Any

from rich.table import Table

from spatialguide.documents import parse_json
from spatialguide.errors import ConfigError
from spatialguide.evaluation.parsing import Failure, ParserScores, Record, score_records
from spatialguide.evaluation.prompts import DATA, bundled_names, inflector, sr2d
from spatialguide.guide import SpatialGuide
from spatialguide.scenes.records import to_record

_VISOR = {"to the left of": "left_of", "to the right of": "right_of", "above": "above", "below": "below"}
#: T2I-CompBench's spatial and 3d_spatial phrases.
_COMPBENCH = {
    "on the bottom of": "below",
    "on the right of": "right_of",
    "on the left of": "left_of",
    "on the top of": "on",
    "on side of": "next_to",
    "near": "next_to",
    "next to": "next_to",
    "hidden by": "behind",
    "in front of": "in_front_of",
    "behind": "behind",
}
_GENEVAL = {"left of": "left_of", "right of": "right_of", "above": "above", "below": "below"}
#: Prompts as people write them; whoever writes rules reads the first file and not the second.
_PEOPLE = {"read": "parser_gold_open.jsonl", "unread": "parser_gold_unread.jsonl"}
_GOLD_KEYS = {"id", "prompt", "objects", "relations"}
#: Fresh process: what a user waits for, torch and the plugins' imports not counted.
_LOADING = """
import sys, time
sys.modules["torch"] = None
from spatialguide.registry import default_registry
registry = default_registry()
began = time.perf_counter()
registry.get("parsers", sys.argv[1])(relations=registry.relations())
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Template:
    """A generated prompt and the one relation that it states."""

    prompt: str
    subject: str
    predicate: str
    ground: str


@dataclass(frozen=True)
class Templates:
    """How many generated prompts of one kind were parsed exactly, and the first that were not."""

    name: str
    prompts: int
    exact: int
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Speed:
    """prompts: a second, in bulk. single: milliseconds for one prompt, median. loading: seconds in a fresh process."""

    prompts: float
    single: float
    loading: float


@dataclass(frozen=True)
class ParserReport:
    """Everything that was measured.

    people: scores on prompts as people write them, "read" and "unread" by whoever writes rules; none with a gold file of
        one's own. Those of "unread" have no failures to look at.
    """

    templates: tuple[Templates, ...]
    gold: ParserScores
    speed: Speed
    people: Mapping[str, ParserScores] = field(default_factory=dict)

    @property
    def failures(self) -> list[Failure]:
        """Prompts not right, those of people first; none that whoever writes rules should not see."""
        return [failure for scores in (*self.people.values(), self.gold) for failure in scores.failures]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy."""
        return {
            "templates": [asdict(item) for item in self.templates],
            "gold": self.gold.as_dict(),
            "speed": asdict(self.speed),
            "people": {name: scores.as_dict() for name, scores in self.people.items()},
        }

    def table(self) -> Table:
        """Templates, gold prompts by class, and speed."""
        gold = self.gold
        table = Table("what", "prompts", "exact or F1, percent", title="the parser", title_justify="left")
        for columns in table.columns[1:]:
            columns.justify = "right"
        for each in self.templates:
            if each.prompts:
                table.add_row(f"templates of {each.name}", str(each.prompts), f"{100 * each.exact / each.prompts:.2f}")
        table.add_section()
        for category, (right, total) in sorted(gold.by_category.items()):
            table.add_row(category, str(total), f"{100 * right / total:.1f}")
        table.add_section()
        table.add_row("all", str(gold.prompts), f"{gold.exact:.1f}")
        for name in ("triples", "objects", "names", "attributes"):
            table.add_row(f"{name}, F1", "", f"{getattr(gold, name).f1:.1f}")
        table.add_row("counts right", "", f"{gold.count_accuracy:.1f}")
        for name, scores in self.people.items():
            table.add_section()
            for category, (right, total) in sorted(scores.by_category.items()):
                table.add_row(f"{category}, {name}", str(total), f"{100 * right / total:.1f}")
            table.add_row(f"all, {name}", str(scores.prompts), f"{scores.exact:.1f}")
            rates = scores.triples
            table.add_row(f"triples, {name}: precision, recall", "", f"{rates.precision:.1f}, {rates.recall:.1f}")
        speed = self.speed
        table.caption = f"{speed.prompts:.0f} prompts/s, one alone {speed.single:.1f} ms, loading {speed.loading:.2f} s"
        return table


def run_parser_benchmark(guide: SpatialGuide, gold: Path | None = None, most: int | None = None) -> ParserReport:
    """Measure the guide's parser.

    Args:
        gold: JSON lines in the format of `docs/parser.md`; the project's own set by default.
        most: generated prompts per set, spread over the set; all without it.

    Raises:
        ConfigError: the gold file is not readable.
    """
    rows = read_gold(gold)
    prompts = [row["prompt"] for row in rows]
    templates = (
        _check(guide, "VISOR (SR2D)", visor_templates(bundled_names("coco")), most),
        _check(guide, "T2I-CompBench spatial", noun_templates(bundled_names("nouns"), _COMPBENCH, ""), most),
        _check(guide, "GenEval position", noun_templates(bundled_names("nouns"), _GENEVAL, "a photo of "), most),
    )
    people = score_people(guide) if gold is None else {}
    return ParserReport(templates, score_records(rows, records(guide, prompts)), _speed(guide, prompts), people)


def score_people(guide: SpatialGuide) -> dict[str, ParserScores]:
    """Scores of the guide's parser on prompts as people write them, see `ParserReport.people`."""
    scores = {}
    for name, file in _PEOPLE.items():
        rows = read_gold(DATA / file)
        scores[name] = score_records(rows, records(guide, [row["prompt"] for row in rows]))
    return scores | {"unread": scores["unread"].without_failures()}


def records(guide: SpatialGuide, prompts: Iterable[str]) -> Iterator[Record]:
    """Records of prompts, in order; one that cannot be parsed gives an empty record."""
    for parsed in guide.parse_many(prompts):
        yield to_record(parsed.scene) if parsed.scene is not None else {"prompt": parsed.prompt}


def read_gold(path: Path | Traversable | None) -> list[dict[str, Any]]:
    """Gold prompts of a file; the project's own without one.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        source = path if path is not None else DATA / "parser_gold.jsonl"
        rows = [parse_json(line) for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read gold prompts from '{path}': {error}; give a file of JSON lines") from error
    if not rows or not all(isinstance(row, dict) and row.keys() >= _GOLD_KEYS for row in rows):
        raise ConfigError(f"'{path}' must hold one JSON object per line with the keys {', '.join(sorted(_GOLD_KEYS))}")
    return rows


def visor_templates(objects: Sequence[str]) -> Iterator[Template]:
    """Every prompt of SR2D with two objects and a relation."""
    for prompt in sr2d(objects):
        if prompt.ground is not None and prompt.is_spatial:
            yield Template(prompt.text, prompt.subject, _VISOR[prompt.relation], prompt.ground)


def noun_templates(objects: Sequence[str], phrases: Mapping[str, str], prefix: str) -> Iterator[Template]:
    """Every noun once as subject and once as ground of every phrase: with articles, without, and in the plural."""
    engine = inflector()
    plural = {name: engine.plural(name) for name in objects}
    for step, (phrase, predicate) in enumerate(phrases.items(), start=1):
        for number, subject in enumerate(objects):
            ground = objects[(number + step) % len(objects)]
            sides = (
                (engine.an(subject), engine.an(ground)),
                (f"the {subject}", f"the {ground}"),
                (subject, ground),
                (f"two {plural[subject]}", f"three {plural[ground]}"),
            )
            for left, right in sides:
                yield Template(f"{prefix}{left} {phrase} {right}", subject, predicate, ground)


def _check(guide: SpatialGuide, name: str, templates: Iterable[Template], most: int | None) -> Templates:
    wanted = list(templates)
    if most is not None:
        wanted = wanted[:: max(1, len(wanted) // max(1, most))][:most]
    failures = []
    for template, parsed in zip(wanted, guide.parse_many(item.prompt for item in wanted), strict=True):
        scene = parsed.scene
        found = [] if scene is None else [(r.subject, r.predicate, r.objects) for r in scene.relations]
        texts = [] if scene is None else [item.text for item in scene.objects]
        if texts != [template.subject, template.ground] or found != [(0, template.predicate, (1,))]:
            failures.append(template.prompt)
    return Templates(name, len(wanted), len(wanted) - len(failures), tuple(islice(failures, 20)))


def _speed(guide: SpatialGuide, prompts: Sequence[str]) -> Speed:
    began = time.perf_counter()
    for _ in guide.parse_many(prompts):
        pass
    bulk = len(prompts) / (time.perf_counter() - began)
    times = []
    for prompt in prompts[:: max(1, len(prompts) // 200)]:
        began = time.perf_counter()
        for _ in guide.parse_many([prompt]):
            pass
        times.append(time.perf_counter() - began)
    command = [sys.executable, "-c", _LOADING, guide.config.parser]
    loading = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Speed(bulk, 1000 * sorted(times)[len(times) // 2], loading)
