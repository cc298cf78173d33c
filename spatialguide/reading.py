"""What `spatialguide parse` does with one prompt or many."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spatialguide.contracts import Relation
from spatialguide.diagram import grid_table
from spatialguide.errors import PromptError
from spatialguide.files import STDIN, json_line, replaced
from spatialguide.guide import SpatialGuide
from spatialguide.planning import check_scene
from spatialguide.records import load_scene, to_record
from spatialguide.scene import Scene


def scene_of(guide: SpatialGuide, prompt: str | None, path: Path | None) -> Scene:
    """The scene that a file states, else the one that the prompt is parsed into.

    Raises:
        SceneError: the file cannot be read, or belongs to another prompt.
        PromptError: there is neither a file nor a prompt.
        ContradictionError: the scene cannot hold.
    """
    if path is not None:
        scene = load_scene(path, prompt)
        check_scene(scene, guide.registry.relations())
        return scene
    if prompt is None:
        raise PromptError("no prompt was given: name one, or a scene file that holds one")
    return guide.parse(prompt)


def print_scene(scene: Scene, relations: Mapping[str, Relation], out: Console) -> None:
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


def read_prompts(source: Path) -> Iterator[dict[str, Any]]:
    """Lines of a file, or of standard input for "-": JSON objects with a "prompt" in a .jsonl file, else plain text.

    A line that cannot be used gives a request with an empty prompt and a "problem" that names the line.

    Raises:
        PromptError: the file cannot be read.
    """
    try:
        stream: TextIO = sys.stdin if str(source) == STDIN else source.open(encoding="utf-8-sig")
    except OSError as error:
        raise PromptError(f"cannot read prompts from '{source}': {error}; give a file, or - for standard input") from error
    with stream:
        try:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _request(line.strip(), f"{source}, line {number}", source.suffix == ".jsonl")
        except UnicodeDecodeError as error:
            raise PromptError(f"'{source}' is not UTF-8 text: {error}; save it as UTF-8") from error


def _request(line: str, where: str, structured: bool) -> dict[str, Any]:
    if not structured and not line.startswith('{"'):
        return {"prompt": line}
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"prompt": "", "problem": f"{where}: not JSON: {error}"}
    if not isinstance(request, dict) or not isinstance(request.get("prompt"), str):
        return {"prompt": "", "problem": f'{where}: a line must be a JSON object with a text "prompt"'}
    request.pop("problem", None)  # ours to say
    return request


def parse_file(guide: SpatialGuide, source: Path, target: Path) -> tuple[int, int]:
    """Parse every prompt of a file and write one record per line, in order; an "id" passes through.

    A prompt that cannot be used gets a record with its "problem"; the others go on.

    Returns:
        Prompts, and prompts with a problem.
    """
    requests: list[dict[str, Any]] = []

    def prompts() -> Iterator[str]:
        for request in read_prompts(source):
            requests.append(request)
            yield request["prompt"]

    faults = total = 0
    with replaced(target) as stream:
        for parsed in guide.parse_many(prompts()):
            request = requests.pop(0)
            record: dict[str, Any] = {"id": request["id"]} if "id" in request else {}
            empty = {"prompt": parsed.prompt, "objects": [], "relations": []}
            record |= to_record(parsed.scene) if parsed.scene is not None else empty
            if parsed.problem is not None:
                record["problem"] = request.get("problem", str(parsed.problem))
            stream.write(json_line(record) + "\n")
            total += 1
            faults += parsed.problem is not None
    return total, faults
