"""What `spatialguide parse` does with one prompt or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spatialguide.batch.requests import Fault, read_rows
from spatialguide.contracts import Predicate
from spatialguide.errors import PromptError
from spatialguide.files import json_line, replaced
from spatialguide.guide import SpatialGuide
from spatialguide.pictures.diagram import grid_table
from spatialguide.scenes.planned import plan
from spatialguide.scenes.records import load_scene, to_record
from spatialguide.scenes.scene import Scene


def scene_of(guide: SpatialGuide, prompt: str | None, path: Path | None) -> Scene:
    """The scene that a file states, else the one that the prompt is parsed into.

    Raises:
        SceneError: the file cannot be read, or belongs to another prompt.
        PromptError: there is neither a file nor a prompt.
        ContradictionError: the scene cannot hold.
    """
    if path is not None:
        scene = load_scene(path, prompt)
        plan(scene, guide.registry.relations())
        return scene
    if prompt is None:
        raise PromptError("no prompt was given: name one, or a scene file that holds one")
    return guide.parse(prompt)


def print_scene(scene: Scene, relations: Mapping[str, Predicate], out: Console) -> None:
    """Tables of objects and relations, the layout, and what was ignored."""
    objects = Table("#", "object", "attributes", "count", "name", "phrase", title="objects", title_justify="left")
    for number, item in enumerate(scene.objects):
        count = "several" if item.count is None else str(item.count)
        places = (f"{span.start}-{span.end}" for span in (item.span, item.phrase))
        objects.add_row(str(number), escape(item.text), escape(", ".join(item.attributes)), count, *places)
    found = Table("subject", "relation", "of", title="relations", title_justify="left")
    for edge in scene.relations:
        grounds = " and ".join(scene.name(i) for i in edge.objects)
        predicate, _, place = edge.predicate.partition(":")
        found.add_row(escape(scene.name(edge.subject)), predicate, escape(grounds or place))
    out.print(objects, found)
    layout = grid_table(scene, relations)
    if layout is not None:
        out.print(layout)
    for line in scene.ignored:
        out.print(f"[yellow]ignored:[/] {escape(line)}", highlight=False)


def parse_file(guide: SpatialGuide, source: str, target: Path) -> tuple[int, int]:
    """Parse every prompt of a file and write one record per line, in order; an "id" passes through.

    A prompt that cannot be used gets a record with its "problem"; the others go on.

    Args:
        source: see `spatialguide.batch.requests.read_rows`.

    Returns:
        Prompts, and prompts with a problem.
    """
    rows: list[dict[str, Any]] = []

    def prompts() -> Iterator[str]:
        for row in read_rows(source):
            found = {"problem": row.problem} if isinstance(row, Fault) else {"id": row["id"]} if "id" in row else {}
            prompt = None if isinstance(row, Fault) else row.get("prompt")
            if not isinstance(prompt, str):
                found.setdefault("problem", 'a request needs a text "prompt"')
            rows.append(found)
            yield prompt if isinstance(prompt, str) else ""

    faults = total = 0
    with replaced(target) as stream:
        for parsed in guide.parse_many(prompts()):
            row = rows.pop(0)
            record: dict[str, Any] = {"id": row["id"]} if "id" in row else {}
            empty = {"prompt": parsed.prompt, "objects": [], "relations": []}
            record |= to_record(parsed.scene) if parsed.scene is not None else empty
            if parsed.problem is not None:
                record["problem"] = row.get("problem", str(parsed.problem))
            stream.write(f"{json_line(record)}\n".encode())
            total += 1
            faults += parsed.problem is not None
    return total, faults
