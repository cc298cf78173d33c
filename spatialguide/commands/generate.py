"""What `spatialguide generate` does: draw, compare, detect, and write one PNG."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from spatialguide.commands.parse import scene_of
from spatialguide.config import GuideConfig, patched
from spatialguide.errors import PictureError, PictureWarning, ReplayWarning
from spatialguide.files import filled, write_bytes, write_text
from spatialguide.guide import SpatialGuide
from spatialguide.pictures.png import check_writable, enlarged, png_bytes, read_pixels, save_png, side_by_side, with_boxes
from spatialguide.pictures.recipe import read_recipe
from spatialguide.result import Result


def replay(
    source: Path,
    output: Path,
    *,
    guided: bool | None = None,
    trust: bool = False,
    tell: Callable[[str], object] | None = None,
    say: Callable[[str, int, int], object] | None = None,
) -> dict[str, Any]:
    """Draw again what a picture of spatialguide's says that it was drawn with.

    Args:
        source: the picture.
        guided: draw it guided or not; by default as it was.
        trust: load also what a backend's options name, from wherever the picture says.
        tell: told in one line what the picture asks for, before any of it is done.

    Returns:
        JSON-ready report: output, description, metadata, whether the pixels are the same (None where the picture holds more
        than the image, as comparisons do), the libraries and plugins that have another version now: {name: [then, now]}, and
        the configuration's keys that are newer than the picture ("absent"), for which today's defaults are taken.

    Raises:
        OutputError: the picture carries no metadata that this version can read, or the output cannot be written.
        UntrustedError: it wants a model or files of its own, and `trust` was not given.
    """
    say = say or (lambda text, done, total: None)
    check_writable(output)
    pixels, size = read_pixels(source)
    recipe, carried = read_recipe(source)
    if tell is not None:
        tell(recipe.wants())
    if not trust:
        recipe.check_trust()
    config, scene = recipe.config, recipe.scene
    absent = list(_absent(carried, config.model_dump(mode="json")))
    if absent:
        warnings.warn(
            f"'{source}' says nothing of {', '.join(absent)}, which is newer: today's default is taken; "
            f"to draw as then, install what drew it, spatialguide {recipe.spatialguide}",
            ReplayWarning,
            stacklevel=2,
        )
    # The seed is that of the candidate that was kept.
    config = patched(config, {"guidance.best_of": 1})
    say("loading the model", 0, 1)
    guide = SpatialGuide(config)
    result = guide(
        scene.prompt,
        seed=recipe.seed,
        scene=scene,
        guided=recipe.guided if guided is None else guided,
        on_step=partial(say, "drawing"),
    )
    picture = enlarged(result.images[0])[0]
    # `Result.save` keeps the image's own size.
    drawn = next((each for each in (picture, result.images[0]) if each.size == size), None)
    same = None if drawn is None else pixels == drawn.convert("RGB").tobytes()
    save_png(picture, output, result.metadata[0])
    return {
        "output": str(output),
        "description": scene.describe(),
        "metadata": result.metadata[0],
        "identical": same,
        "changed": _changed(recipe.versions, result.metadata[0]["versions"]),
        "absent": absent,
    }


def _absent(known: dict[str, Any], now: dict[str, Any], where: str = "") -> Iterator[str]:
    """Keys of the configuration that a picture does not have, since it is older than they are."""
    for key, value in now.items():
        if key not in known:
            yield f"{where}{key}"
        elif isinstance(value, dict) and isinstance(known[key], dict):
            yield from _absent(known[key], value, f"{where}{key}.")


def _changed(then: dict[str, str], now: dict[str, str]) -> dict[str, list[str | None]]:
    """Versions that differ. Pictures drawn before these were kept name none."""
    names = sorted({*then, *now}) if then else ()
    return {name: [then.get(name), now.get(name)] for name in names if then.get(name) != now.get(name)}


def render(
    prompt: str | None,
    config: GuideConfig,
    output: Path,
    *,
    seed: int = 0,
    compare: bool = False,
    trace: Path | None = None,
    pictures: Path | None = None,
    scene_file: Path | None = None,
    say: Callable[[str, int, int], object] | None = None,
) -> dict[str, Any]:
    """Draw a prompt and write the picture with its metadata.

    Args:
        prompt: what to draw; None where the scene file holds it.
        scene_file: a scene to use in place of the parser's.
        compare: also draw it unguided, detect objects in both, and write the two side by side.
        trace: where to write the trace as JSON.
        pictures: folder for pictures of what guidance saw (`write_pictures`).
        say: told in a few words what is going on, with steps done and steps in all.

    Returns:
        JSON-ready report: output, description, metadata, and with `compare` a verdict for each picture.

    Raises:
        SpatialGuideError: bad input, before anything is written.
    """
    say = say or (lambda text, done, total: None)
    check_writable(output)
    if trace is not None:
        check_writable(trace, ".json")
    guide = SpatialGuide(config)
    say("reading the prompt", 0, 1)
    scene = scene_of(guide, prompt, scene_file)
    if pictures is not None and not scene.objects:
        raise PictureError(f"no object was found in '{scene.prompt}', so there is nothing to show: leave out --pictures")
    with nullcontext() if pictures is None else filled(pictures) as draft:
        detector: Callable[[Sequence[Image.Image], Sequence[str]], Any] | None = None
        if compare:
            from spatialguide.evaluation.detection import make_detector

            detector = make_detector(guide.registry, config.detector, config.detector_options)
        say("loading the model", 0, 1)
        result = guide(scene.prompt, seed=seed, scene=scene, watch=pictures is not None, on_step=partial(say, "drawing"))
        picture = enlarged(result.images[0])[0]
        report: dict[str, Any] = {
            "output": str(output),
            "description": scene.describe(),
            "metadata": result.metadata[0],
            "guided_steps": len({step.index for step in result.trace.steps}),
            "skipped_steps": result.trace.skipped,
        }
        if detector is not None:
            with warnings.catch_warnings():
                # What there is to warn of was said for the guided picture.
                warnings.simplefilter("ignore")
                # Of several candidates, from the seed of the one that was kept.
                plain = guide.with_config(patched(config, {"guidance.best_of": 1}))(
                    scene.prompt,
                    seed=result.metadata[0]["seed"],
                    scene=scene,
                    guided=False,
                    on_step=partial(say, "drawing unguided"),
                )
            from spatialguide.evaluation.visor import relation_verdicts

            names = sorted({item.text for item in scene.objects})
            pair = (plain.images[0], result.images[0])
            found = detector(pair, names)
            titles = ("unguided", "guided")
            panels = [(title, with_boxes(image, boxes)) for title, image, boxes in zip(titles, pair, found, strict=True)]
            picture = side_by_side(scene.prompt, panels)
            relations = guide.registry.relations()
            report["verdicts"] = {
                title: relation_verdicts(scene, boxes, relations, pair[0].size)
                for title, boxes in zip(titles, found, strict=True)
            }
        if pictures is not None and draft is not None:
            report["pictures"] = [str(pictures / path.name) for path in write_pictures(result, draft)]
        save_png(picture, output, result.metadata[0])
        if trace is not None:
            write_text(trace, json.dumps(result.trace.as_dict()))
    return report


def write_pictures(result: Result, folder: Path) -> list[Path]:
    """Write maps.png, maps.gif, curves.png and scene.svg for the first image of a watched result; curves need matplotlib.

    Raises:
        PictureError: the prompt has no object, so nothing was looked at.
        OutputError: they cannot be written there.
    """
    from spatialguide.pictures.attention import figure_bytes, gif_bytes
    from spatialguide.pictures.diagram import scene_svg

    sheet, animation, curves, graph = (folder / name for name in ("maps.png", "maps.gif", "curves.png", "scene.svg"))
    write_bytes(sheet, png_bytes(result.attention_sheet()))
    write_bytes(animation, gif_bytes(result.attention_frames()))
    write_text(graph, scene_svg(result.scene))
    written = [sheet, animation, graph]
    try:
        write_bytes(curves, figure_bytes(result.figure(), dpi=120))
        written.append(curves)
    except PictureError as error:
        warnings.warn(str(error), PictureWarning, stacklevel=2)
    return written
