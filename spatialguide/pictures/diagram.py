"""Diagrams of a scene: its grid as a table, and an SVG picture of its graph."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from rich.box import SQUARE
from rich.markup import escape
from rich.table import Table

from spatialguide.contracts import Predicate
from spatialguide.scenes.layout import grid
from spatialguide.scenes.planned import plan
from spatialguide.scenes.scene import Scene

#: Above this many objects a grid is no help, and merging rows grows costly.
MOST_OBJECTS = 40


def grid_table(scene: Scene, relations: Mapping[str, Predicate]) -> Table | None:
    """The grid for a terminal; None where there is nothing to place, or too much."""
    if not scene.relations or len(scene.objects) > MOST_OBJECTS:
        return None
    found = grid(plan(scene, relations).relations, len(scene.objects))
    free = ", ".join(scene.name(index) for index in found.free)
    table = Table(
        show_header=False,
        show_lines=True,
        box=SQUARE,
        title="layout",
        title_justify="left",
        caption=f"anywhere: {escape(free)}" if free else None,
        caption_justify="left",
    )
    for _ in range(found.columns):
        table.add_column(justify="center", min_width=8)
    for row in range(found.rows):
        cells = (found.cells.get((column, row), ()) for column in range(found.columns))
        table.add_row(*(escape("\n".join(_labels(scene, cell))) for cell in cells))
    return table


def _labels(scene: Scene, cell: tuple[int, ...]) -> Iterator[str]:
    """Names of the objects in one cell, with what the grid cannot show: "fox (behind bench)"."""
    for index in cell:
        hidden = [e for e in scene.relations if e.subject == index and e.objects and set(e.objects) <= set(cell)]
        said = ", ".join(scene.sentence(edge).removeprefix(scene.name(index)).strip() for edge in hidden)
        yield f"{scene.name(index)} ({said})" if said else scene.name(index)


def scene_svg(scene: Scene) -> str:
    """The scene's graph as SVG, drawn by spaCy's displaCy: objects in the prompt's order, an arc for each relation."""
    from spacy import displacy

    words = [
        {"text": scene.name(index), "tag": "" if item.count == 1 else f"x {item.count or 'several'}"}
        for index, item in enumerate(scene.objects)
    ]
    places = list(dict.fromkeys(edge.predicate for edge in scene.relations if not edge.objects))
    words += [{"text": place.partition(":")[2] or place, "tag": "place in the picture"} for place in places]
    arcs = []
    for edge in scene.relations:
        ends = edge.objects or (len(scene.objects) + places.index(edge.predicate),)
        for end in dict.fromkeys(ends):
            start, stop = sorted((edge.subject, end))
            label = html.escape(edge.predicate.partition(":")[0])  # displaCy escapes words alone
            arcs.append({"start": start, "end": stop, "label": label, "dir": "right" if end > edge.subject else "left"})
    longest = max((len(word["text"]) for word in words), default=0)
    options = {"distance": max(120, 11 * longest + 30), "word_spacing": 30, "arrow_spacing": 16}
    svg: str = displacy.render({"words": words, "arcs": arcs}, style="dep", manual=True, jupyter=False, options=options)
    return re.sub(r'width="(\d+)" height="([\d.]+)"', r'viewBox="0 0 \1 \2" \g<0>', svg, count=1)
