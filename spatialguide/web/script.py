"""A wish as others can run it: Python, and a file for --config."""

from __future__ import annotations

from pprint import pformat
from typing import TYPE_CHECKING, Any

from yaml import safe_dump

from spatialguide.config import DEFAULT_PRESET, presets
from spatialguide.errors import SpatialGuideError
from spatialguide.scenes.records import to_record
from spatialguide.scenes.scene import Scene
from spatialguide.web.offer import merged
from spatialguide.web.wish import Wish, marked, plain, relation_lines

if TYPE_CHECKING:
    from spatialguide.web.studio import Studio


def python(studio: Studio, wish: Wish) -> str:
    """Python that draws the wish's guided image."""
    start = studio.preset(wish.preset)
    head: dict[str, Any] = {} if wish.preset == DEFAULT_PRESET else {"preset": wish.preset}
    if wish.preset not in presets():
        head = start.model_dump(mode="json", exclude_unset=True)
    arguments = [f"{key}={value!r}" for key, value in merged(head, studio.changes(wish, start)).items()]
    found, lines = studio.found(wish)
    own = wish.relations is not None and plain(wish.relations) != plain(lines)
    none = own and not (wish.relations or "").strip()
    prompt, imports, by_hand = wish.prompt, [], []
    rest = ", guided=False" if none else ""
    if own and not none:
        prompt, scene = marked(found.prompt, plain(wish.relations or "")), studio.scene(wish)
        if not _is_read_as(studio, prompt, scene):
            # What marks cannot say: counts, attributes, two objects of one name, objects without a relation.
            imports = ["from spatialguide.scenes.records import from_record"]
            by_hand = [f"scene = from_record(\n{pformat(to_record(scene), sort_dicts=False, width=128)}\n)"]
            prompt, rest = scene.prompt, ", scene=scene"
    return "\n".join(
        [
            "from spatialguide import SpatialGuide",
            *imports,
            "",
            f"guide = SpatialGuide({', '.join(arguments)})",
            *by_hand,
            f"result = guide({prompt!r}, seed={wish.seed}{rest})",
            'result.save("out.png")',
        ]
    )


def _is_read_as(studio: Studio, prompt: str, scene: Scene) -> bool:
    """Whether a marked prompt is read as this scene."""
    try:
        read = studio.reader.parse(prompt)
    except SpatialGuideError:
        return False
    objects = [[(o.text, o.span, o.attributes, o.count) for o in each.objects] for each in (read, scene)]
    return objects[0] == objects[1] and relation_lines(read) == relation_lines(scene)


def yaml(studio: Studio, wish: Wish) -> str:
    """The wish's configuration as a file for --config."""
    start = studio.preset(wish.preset)
    head = {"preset": wish.preset} if wish.preset in presets() else start.model_dump(mode="json", exclude_unset=True)
    text: str = safe_dump(merged(head, studio.changes(wish, start)), sort_keys=False)
    return text
