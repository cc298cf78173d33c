"""Report tables: the same cells for the terminal, Markdown and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from spatialguide.evaluation.fidelity import CLIP_SCORE, DISTANCE, FRECHET, SATURATION
from spatialguide.evaluation.report import Report
from spatialguide.evaluation.uncertainty import Figure, Interval

_UNITS = {
    SATURATION: "mean HSV saturation, percent",
    DISTANCE: "to the unguided image of the same seed, by LPIPS's formula on these features without its learned weights",
    FRECHET: "Frechet distance of these features to real images",
    CLIP_SCORE: "100 x cosine of image and prompt",
}
_FORMS = {SATURATION: ".1f", DISTANCE: ".3f", FRECHET: ".3g", CLIP_SCORE: ".1f"}
_BASE = "–"


@dataclass(frozen=True)
class Cell:
    """A figure as text, and its 95% interval."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of a report. groups: one per row; a change of group starts a new part of the table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    groups: tuple[str, ...]
    caption: str = ""


def grids(report: Report) -> list[Grid]:
    """All tables of a report."""
    found = [_accuracy(report), _gains(report), _cost(report)]
    return [*found, _relations(report)] if len({p for each in report.methods for p in each.relations}) > 1 else found


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
    lines = [f"**{title(report)}**", ""]
    for grid in grids(report):
        lines += [grid.title, "", f"| {' | '.join(grid.columns)} |", f"|---{'|---:' * (len(grid.columns) - 1)}|"]
        for row in grid.rows:
            cells = (f"{cell.text} ({cell.interval})" if cell.interval else cell.text for cell in row)
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", grid.caption, ""] if grid.caption else [""]
    return "\n".join(lines).rstrip() + "\n"


def _rich(grid: Grid) -> Table:
    table = Table(title=grid.title, caption=grid.caption or None, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for place, row in enumerate(grid.rows):
        table.add_row(*(escape(cell.text) for cell in row))
        if any(cell.interval for cell in row):
            table.add_row(*(cell.interval for cell in row), style="dim")
        if place + 1 < len(grid.rows) and grid.groups[place] != grid.groups[place + 1]:
            table.add_section()
    return table


def _accuracy(report: Report) -> Grid:
    rows = []
    for each in report.methods:
        figures = (each.scores.oa, each.scores.uncond, each.scores.cond, *each.scores.at_least)
        cells = [_cell(figure, interval) for figure, interval in zip(figures, each.scores.intervals, strict=True)]
        rows.append((Cell(each.name), *cells))
    counts = (str(n + 1) for n in range(report.study.images))
    caption = (
        "Percent, with 95% intervals (bootstrap over prompts). OA: images with all objects; uncond: and all relations; "
        "cond = uncond / OA; 1, 2, ...: prompts with at least so many right images."
    )
    return _grid(report, "Accuracy", ("method", "OA", "uncond", "cond", *counts), rows, caption)


def _gains(report: Report) -> Grid:
    compared = [(each, each.comparison) for each in report.methods if each.comparison is not None]
    rows = [
        (Cell(each.name), _cell(versus.difference, versus.interval, "+.1f", "+.0f"), Cell(f"{versus.p_value:.4f}"))
        for each, versus in compared
    ]
    caption = "uncond minus the plain model's on the same prompts and seeds; p of a paired sign-flip test over prompts."
    groups = tuple(each.method.group for each, _ in compared)
    return Grid("Gain over the plain model", ("method", "gain", "p"), tuple(rows), groups, caption)


def _cost(report: Report) -> Grid:
    names = list(dict.fromkeys(name for each in report.methods for name in each.fidelity))
    rows = []
    for each in report.methods:
        cells = [_figure(each.fidelity[name], _FORMS[name], _FORMS[name]) for name in names]
        memory = Cell(_BASE) if each.memory is None else Cell(f"{each.memory / 1e6:.1f}")
        rows.append((Cell(each.name), *cells, Cell(f"{each.seconds:.3f}"), memory))
    notes = [f"{name}: {_UNITS[name]}." for name in names]
    if report.features:
        notes.append(f"Features: {report.features}.")
    if report.reference:
        notes.append(f"Real images: {report.reference}. Few images raise every Frechet distance alike.")
    if report.seed_distance is not None:
        notes.append(f"The distance between two unguided images of a prompt is {report.seed_distance:.3f}.")
    notes.append(
        f"MB/image: peak memory above the loaded model, in batches of {report.study.batch * report.study.images} images."
    )
    return _grid(report, "Fidelity and cost", ("method", *names, "s/image", "MB/image"), rows, " ".join(notes))


def _relations(report: Report) -> Grid:
    names = sorted({predicate for each in report.methods for predicate in each.relations})
    rows = [(Cell(each.name), *(_figure(each.relations[name]) for name in names)) for each in report.methods]
    return _grid(report, "By relation", ("method", *names), rows, "uncond of the prompts that hold the relation, percent.")


def _grid(report: Report, name: str, columns: Sequence[str], rows: Sequence[tuple[Cell, ...]], caption: str) -> Grid:
    return Grid(name, tuple(columns), tuple(rows), tuple(each.method.group for each in report.methods), caption)


def _figure(figure: Figure, form: str = ".1f", bounds: str = ".0f") -> Cell:
    return _cell(figure.value, figure.interval, form, bounds)


def _cell(value: float, interval: Interval, form: str = ".1f", bounds: str = ".0f") -> Cell:
    """Percentages unless the forms say otherwise; their bounds are whole, since no run is so long that more would be known."""
    if math.isnan(value):
        return Cell(_BASE)
    if math.isnan(interval.low) or interval.low == interval.high == value:
        return Cell(f"{value:{form}}")
    joint = " to " if min(interval.low, value) < 0 or "+" in bounds else "–"
    return Cell(f"{value:{form}}", f"{interval.low:{bounds}}{joint}{interval.high:{bounds}}")
