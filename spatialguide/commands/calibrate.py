"""`spatialguide calibrate`: the settings that suit a model, found by drawing with it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from spatialguide.commands.console import echo, err, out
from spatialguide.commands.options import (
    BackendOption,
    ConfigOption,
    JsonOption,
    PresetOption,
    SchedulerOption,
    SetOption,
    StepsOption,
    say_warnings,
    settings,
    silence_libraries,
)
from spatialguide.files import write_text

if TYPE_CHECKING:
    from spatialguide.evaluation.calibrate import Calibration, Calibrator


def calibrate(
    folder: Annotated[Path, typer.Option("--out", help="Keep images and results here; the same command goes on.")] = Path(
        "calibration"
    ),
    prompts: Annotated[Path | None, typer.Option(help="A prompt a line; by default made of nouns.")] = None,
    nouns: Annotated[
        str | None, typer.Option(help="Separated by commas; by default the backend's vocabulary, or a few common things.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=4, max=1000, help="Prompts to make.")] = 24,
    budget: Annotated[
        str | None, typer.Option(help="Time that it may take, such as 90s, 10m or 2h: what does not fit is not started.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=2, max=82, help="Settings to try; 32 by default, or as many as the budget allows.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="Judge of the images, see `spatialguide plugins`; none: by attention maps alone.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Images drawn at once.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts, candidates, and the first image.")] = 0,
    steps: StepsOption = None,
    scheduler: SchedulerOption = None,
    backend: BackendOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find layers, method, window and strength for your model, and write them as guide.yaml into the folder."""
    say_warnings(quiet=False)
    silence_libraries()
    limit, judge = None if budget is None else _seconds(budget), None if detector == "none" else detector
    chosen = settings(
        config, preset, assignments=assignments, steps=steps, scheduler=scheduler, backend=backend, detector=judge
    )
    from spatialguide.evaluation.calibrate import Calibrator
    from spatialguide.evaluation.candidates import default_prompts
    from spatialguide.evaluation.detection import make_detector
    from spatialguide.evaluation.prompts import read_lines
    from spatialguide.evaluation.runs import Run
    from spatialguide.guide import SpatialGuide

    guide = SpatialGuide(chosen)
    names = [name.strip() for name in nouns.split(",") if name.strip()] if nouns else None
    texts = read_lines(str(prompts)) if prompts is not None else default_prompts(guide, names, count, seed)
    finder = None if detector == "none" else make_detector(guide.registry, chosen.detector, chosen.detector_options)
    kept = chosen.model_dump(mode="json")
    run = Run(folder, {"calibrate": kept, "prompts": texts, "seed": seed, "detector": finder and chosen.detector})
    calibrator = Calibrator(guide, run, texts, finder, seed, batch, candidates, limit, say=_say)
    with run.writing():
        found = calibrator.calibrate()
    path = folder / "guide.yaml"
    write_text(path, guide_yaml(found, calibrator, shlex.join(["spatialguide", *sys.argv[1:]])))
    if as_json:
        echo(json.dumps({**found.as_dict(), "file": str(path)}))
        return
    _print(found)
    out.print(f"[bold]{escape(str(path))}[/]  use it with --config {escape(str(path))}", highlight=False, soft_wrap=True)


def guide_yaml(found: Calibration, calibrator: Calibrator, command: str) -> str:
    """The configuration as YAML, with how it was found above."""
    versions = calibrator.run.environment()
    named = ", ".join(f"{name} {versions[name]}" for name in ("spatialguide", "torch", "diffusers") if name in versions)
    judge = "attention maps" if found.by_maps else f"detector {found.config.detector}, every object exactly as often as asked"
    said = [
        f"Found by `{command}` on {date.today().isoformat()}: {found.found}",
        f"versions: {named}; judged by: {judge}",
        f"prompts: {len(calibrator.prompts)}, such as {calibrator.prompts[0]!r}; first seed {calibrator.seed}",
        *(f"chosen: {each.name}: {_shown(each.score, found)} of {each.images} images" for each in found.choices[:3]),
        *_check(found),
        *found.stopped,
    ]
    values = found.config.model_dump(mode="json", exclude_unset=True)
    # A comment is one line, whatever a prompt holds.
    comment = "".join(f"# {' '.join(line.split())}\n" for line in said)
    return comment + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _seconds(text: str) -> float:
    number = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if number is None:
        raise typer.BadParameter(f"--budget takes a time such as 90s, 10m or 2h, not '{text}'")
    return float(number[1]) * {"s": 1, "m": 60, "h": 3600}[number[2]]


def _say(text: str) -> None:
    err.print(escape(text), highlight=False)


def _shown(score: float, found: Calibration) -> str:
    return f"{score:.3f}" if found.by_maps else f"{100 * score:.1f}%"


def _check(found: Calibration) -> list[str]:
    """The check on other seeds, on one line."""
    scores = ", ".join(f"{name} {_shown(score, found)}" for name, score in found.check.items())
    against = "" if found.p is None else f"; found against configured: p = {found.p:.3g}"
    return [f"on {found.checked} images from other seeds: {scores}{against}"] if scores else []


def _print(found: Calibration) -> None:
    layers = Table("layer", "cells", "agreement", title="layers, by how well they tell where objects will be", box=SIMPLE_HEAD)
    for layer in found.layers:
        layers.add_row(escape(layer.name), str(layer.cells), f"{layer.agreement:.2f}")
    out.print(layers)
    what = "maps show the scene" if found.by_maps else "all right"
    table = Table("settings", "images", what, "unguided", "gain", "s an image", box=SIMPLE_HEAD)
    for each in found.choices:
        gain = _shown(each.score - each.plain, found)
        row = (str(each.images), _shown(each.score, found), _shown(each.plain, found), gain, f"{each.seconds:.2f}")
        table.add_row(escape(each.name), *row)
    out.print(table)
    best = found.choices[0].name
    beaten = "" if best == found.found else f"; '{best}' is not better beyond chance: a larger --count tells more"
    for line in (*_check(found), *found.stopped, f"kept: {found.found}{beaten}"):
        out.print(escape(line), highlight=False)
