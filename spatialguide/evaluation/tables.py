"""Report tables: the same cells for the terminal, Markdown and the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from spatialguide.evaluation.fidelity import CLIP_SCORE, DISTANCE, FRECHET, FRECHET_RATIO, SATURATION
from spatialguide.evaluation.report import Report
from spatialguide.evaluation.study import BASELINE, GUIDED
from spatialguide.evaluation.uncertainty import LEAST_P, Comparison, Figure, Interval

_UNITS = {
    SATURATION: "mean HSV saturation, percent",
    DISTANCE: "to the unguided image of the same seed, LPIPS's formula on these features, unweighted, mean over layers",
    FRECHET: "Frechet distance of these features to reference images",
    FRECHET_RATIO: "the same over the plain model's, prompt by prompt in its interval",
    CLIP_SCORE: "100 x cosine of image and prompt",
}
_FORMS = {SATURATION: ".1f", DISTANCE: ".3f", FRECHET: ".3g", FRECHET_RATIO: ".2f", CLIP_SCORE: ".1f"}
_BASE = "–"
STRICT = "strict"
_STRICT = (STRICT, "missing", "double")


@dataclass(frozen=True)
class Cell:
    """A figure as text, and its 95% interval."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of a report."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str


def grids(report: Report) -> list[Grid]:
    """All tables of a report."""
    found = [_accuracy(report), _gains(report), *([_twins(report)] if report.study.twins else []), _cost(report)]
    return [*found, _relations(report)] if len({p for each in report.methods for p in each.relations}) > 1 else found


def described(report: Report) -> str:
    """How it was drawn and judged, in one line."""
    config = report.study.methods[BASELINE].config
    parts = [f"model {config.backend}", f"detector {config.detector}", f"seed {report.study.seed}"]
    parts += [
        f"{name.replace('_', ' ')} {value}"
        for name in ("scheduler", "steps", "guidance_scale")
        if (value := getattr(config, name))
    ]
    guided = next((each.method.config.guidance for each in report.methods if each.name == GUIDED), None)
    if guided is not None:
        parts.append(
            f"strength {guided.strength:g} ({guided.mode}) on {guided.window[0]:.0%} to {guided.window[1]:.0%} of the steps"
        )
    return ", ".join(parts)


def title(report: Report) -> str:
    """What was run, in one line."""
    study, done = report.study, len(report.prompts)
    part = "" if done == len(study.prompts) else f" of {len(study.prompts)}"
    return f"{study.benchmark}, {done}{part} prompts x {study.images} images"


def terminal(report: Report) -> RenderableType:
    """For a rich console."""
    return Group(*(_rich(grid) for grid in grids(report)))


def markdown(report: Report) -> str:
    """Tables to paste, with what they are figures of."""
    lines = [f"**{title(report)}**", "", described(report), ""]
    for grid in grids(report):
        lines += [grid.title, "", f"| {' | '.join(grid.columns)} |", f"|---{'|---:' * (len(grid.columns) - 1)}|"]
        for row in grid.rows:
            cells = (f"{cell.text} ({cell.interval})" if cell.interval else cell.text for cell in row)
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", grid.caption, ""]
    return "\n".join(lines).rstrip() + "\n"


def _rich(grid: Grid) -> Table:
    table = Table(title=grid.title, caption=grid.caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in grid.rows:
        table.add_row(*(escape(cell.text) for cell in row))
        if any(cell.interval for cell in row):
            table.add_row(*(cell.interval for cell in row), style="dim")
    return table


def _accuracy(report: Report) -> Grid:
    rows = []
    for each in report.methods:
        figures = (each.scores.oa, each.scores.uncond, each.scores.cond, *each.scores.at_least)
        cells = [_cell(figure, interval) for figure, interval in zip(figures, each.scores.intervals, strict=True)]
        strict = [_figure(each.rates[name].figure) for name in _STRICT]
        rows.append((Cell(each.name), *cells[:3], *strict, *cells[3:]))
    counts = (str(n + 1) for n in range(report.study.images))
    caption = (
        "Percent, with 95% intervals (bootstrap over prompts). OA: images with all objects; uncond: and all relations; "
        "cond = uncond / OA; 1, 2, ...: prompts with at least so many right images. Strict: each object as often as asked "
        "and all relations between all of them, where uncond takes any; missing, double: images with too few, too many of one."
    )
    return Grid("Accuracy", ("method", "OA", "uncond", "cond", *_STRICT, *counts), tuple(rows), caption)


def _gains(report: Report) -> Grid:
    compared = [each for each in report.methods if each.comparison is not None]
    several = any(each.against_guided for each in compared)
    rows = []
    for each in compared:
        strict = each.rates[STRICT]
        versus = (each.comparison, strict.comparison, *((each.against_guided, strict.against_guided) if several else ()))
        rows.append((Cell(each.name), *(cell for comparison in versus for cell in _gain(comparison))))
    columns = ("method", "over unguided", "p", "strict", "p", "over guided", "p", "strict", "p")[: len(rows[0])]
    caption = "Difference of uncond, and of strict, on the same prompts and seeds; p of a paired sign-flip test over prompts."
    return Grid("Gain", columns, tuple(rows), caption)


def _twins(report: Report) -> Grid:
    rows = []
    for each in report.methods:
        rates = [each.rates[name] for name in ("both", "both strict")]
        rows.append((Cell(each.name), *(cell for rate in rates for cell in (_figure(rate.figure), *_gain(rate.comparison)))))
    columns = ("method", "both", "over unguided", "p", "both strict", "over unguided", "p")
    caption = (
        "Prompts in twos, each drawn from the same seeds: percent of seeds with which both are right, paired over the twos."
    )
    return Grid("Twos", columns, tuple(rows), caption)


def _gain(comparison: Comparison | None) -> tuple[Cell, Cell]:
    if comparison is None:
        return Cell(_BASE), Cell(_BASE)
    p = f"{comparison.p_value:.4f}" if comparison.p_value > LEAST_P else f"≤ {LEAST_P:.4f}"
    return _cell(comparison.difference, comparison.interval, "+.1f", "+.0f"), Cell(p)


def _cost(report: Report) -> Grid:
    names = list(dict.fromkeys(name for each in report.methods for name in each.fidelity))
    rows = []
    for each in report.methods:
        cells = [_figure(each.fidelity[name], _FORMS[name], _FORMS[name]) for name in names]
        memory = Cell(_BASE) if each.memory is None else Cell(f"{each.memory / 1e6:.1f}")
        ratio = each.seconds / report.methods[0].seconds if report.methods[0].seconds else float("nan")
        rows.append((Cell(each.name), *cells, Cell(f"{each.seconds:.3f}"), Cell(f"{ratio:.2f}"), memory))
    notes = [f"{name}: {_UNITS[name]}." for name in names]
    if report.features:
        notes.append(f"Features: {report.features}.")
    if report.reference:
        notes.append(f"Reference images: {report.reference}. Few images raise every Frechet distance alike.")
    if report.seed_distance is not None:
        notes.append(f"The distance between two unguided images of a prompt is {report.seed_distance:.3f}.")
    notes.append("s/image: median over batches; ratio: to the plain model's.")
    at_once = min(report.study.batch, len(report.study.prompts)) * report.study.images
    notes.append(f"MB/image: peak memory above the loaded model, in batches of {at_once} images.")
    return Grid("Fidelity and cost", ("method", *names, "s/image", "ratio", "MB/image"), tuple(rows), " ".join(notes))


def _relations(report: Report) -> Grid:
    names = sorted({predicate for each in report.methods for predicate in each.relations})
    rows = tuple((Cell(each.name), *(_figure(each.relations[name]) for name in names)) for each in report.methods)
    columns = ("method", *(name.replace("_", " ") for name in names))
    return Grid("By relation", columns, rows, "uncond of the prompts that hold the relation, percent.")


def _figure(figure: Figure, form: str = ".1f", bounds: str = ".0f") -> Cell:
    return _cell(figure.value, figure.interval, form, bounds)


def _cell(value: float, interval: Interval, form: str = ".1f", bounds: str = ".0f") -> Cell:
    """Percentages unless the forms say otherwise; their bounds are whole, since no run is so long that more would be known."""
    if math.isnan(value):
        return Cell(_BASE)
    if math.isnan(interval.low):
        return Cell(f"{value:{form}}")
    joint = " to " if min(interval.low, value) < 0 or "+" in bounds else "–"
    return Cell(f"{value:{form}}", f"{interval.low:{bounds}}{joint}{interval.high:{bounds}}")
