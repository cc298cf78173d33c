"""Plots of a report, as matplotlib figures."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from spatialguide.evaluation.fidelity import CLIP_SCORE, DISTANCE, FRECHET, SATURATION
from spatialguide.evaluation.report import MethodReport, Report
from spatialguide.evaluation.study import BASELINE
from spatialguide.evaluation.uncertainty import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLAIN, STRONG, ACCENT, SOFT = "#8a8f98", "#1f3a5f", "#d1495b", "#edae49"
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a6",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "spatialguide",
}
#: (value, its interval) of a method.
_Read = Callable[[MethodReport], tuple[float, Interval]]


def plots(report: Report) -> dict[str, Figure]:
    """Every plot that the report asks for, by title."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        found = {"Objects and relations": _accuracy(report), "Accuracy against fidelity": _trade(report)}
        number = _number(report)
        if number is not None:
            found[f"What {number} does"] = _sweep(report, number)
        if len(report.methods[0].relations) > 1 and not _varied(report):
            found["Relation by relation"] = _relations(report)
        return found


def _varied(report: Report) -> list[MethodReport]:
    return [each for each in report.methods if each.method.varied]


def _number(report: Report) -> str | None:
    """The one key that varies, if it is a number."""
    found = [each.method.varied for each in _varied(report)]
    keys = {key for varied in found for key in varied}
    numbers = all(isinstance(value, (int, float)) for varied in found for value in varied.values())
    return keys.pop() if len(keys) == 1 and numbers else None


def svg(figure: Figure) -> str:
    """The figure as an SVG element, the same text for the same figure."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _uncond(report: MethodReport) -> tuple[float, Interval]:
    return report.scores.uncond, report.scores.intervals[1]


def _oa(report: MethodReport) -> tuple[float, Interval]:
    return report.scores.oa, report.scores.intervals[0]


def _strict(report: MethodReport) -> tuple[float, Interval]:
    figure = report.rates["strict"].figure
    return figure.value, figure.interval


def _fidelity(name: str) -> _Read:
    def read(report: MethodReport) -> tuple[float, Interval]:
        figure = report.fidelity[name]
        return figure.value, figure.interval

    return read


def _whiskers(reads: Sequence[tuple[float, Interval]]) -> list[list[float]]:
    """Lengths below and above the values, as error bars take them."""
    return [[max(0.0, v - i.low) for v, i in reads], [max(0.0, i.high - v) for v, i in reads]]


def _dots(axes: Axes, methods: Sequence[MethodReport], read: _Read, shift: float, **style: Any) -> None:
    """A row per method, with whiskers; shift: down from the middle of the row."""
    reads = [read(each) for each in methods]
    places = [place + shift for place in range(len(methods))]
    axes.errorbar([v for v, _ in reads], places, xerr=_whiskers(reads), fmt="o", capsize=2.5, **style)


def _accuracy(report: Report) -> Figure:
    figure = _figure(9, 1.1 + 0.5 * len(report.methods))
    axes = figure.subplots()
    _dots(axes, report.methods, _oa, -0.2, color=PLAIN, mfc="white", label="all objects (OA)")
    _dots(axes, report.methods, _uncond, 0, color=STRONG, label="and relations (uncond)")
    _dots(axes, report.methods, _strict, 0.2, color=ACCENT, label="each as often as asked (strict)")
    axes.set_yticks(range(len(report.methods)), [each.name for each in report.methods])
    axes.set(xlim=(0, 100), xlabel="percent of images, 95% interval", ylim=(len(report.methods) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def _relations(report: Report) -> Figure:
    names = sorted({predicate for each in report.methods for predicate in each.relations})
    figure = _figure(9, 3)
    axes = figure.subplots()
    width = 0.8 / len(report.methods)
    for place, (each, colour) in enumerate(zip(report.methods, _colours(report), strict=True)):
        reads = [(each.relations[name].value, each.relations[name].interval) for name in names]
        x = [number + (place - (len(report.methods) - 1) / 2) * width for number in range(len(names))]
        axes.bar(x, [v for v, _ in reads], 0.9 * width, yerr=_whiskers(reads), color=colour, ecolor="#444", label=each.name)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set(ylim=(0, 100), ylabel="uncond, percent")
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper right", ncols=min(4, len(report.methods)), frameon=False)
    return figure


def _trade(report: Report) -> Figure:
    """Accuracy against each fidelity figure; values of one number are joined in their order."""
    first = report.methods[0].fidelity
    shown = [name for name in (FRECHET, CLIP_SCORE, DISTANCE, SATURATION) if name in first]
    figure = _figure(3.6 * len(shown) + 0.3, 3.6)
    for axes, name in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        if _number(report) is not None:
            xs, ys = zip(*((_fidelity(name)(each)[0], _uncond(each)[0]) for each in _varied(report)), strict=True)
            axes.plot(xs, ys, color=STRONG, linewidth=1, zorder=1)
        for each, colour in zip(report.methods, _colours(report), strict=True):
            (x, across), (y, along) = _fidelity(name)(each), _uncond(each)
            errors = {"xerr": _whiskers([(x, across)]), "yerr": _whiskers([(y, along)])}
            axes.errorbar(x, y, **errors, fmt="o", color=colour, elinewidth=0.8, zorder=2)
            label = ", ".join(map(str, each.method.varied.values())) or each.name
            axes.annotate(label, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=7.5)
        axes.set(xlabel=_AXES[name], title=name[0].upper() + name[1:])
    figure.axes[0].set_ylabel("uncond, percent")
    return figure


_AXES = {
    FRECHET: "to reference images; lower is better",
    CLIP_SCORE: "higher is better",
    DISTANCE: "to the unguided image; lower is closer",
    SATURATION: "mean, percent; nearer to unguided is better",
}


def _sweep(report: Report, key: str) -> Figure:
    """Accuracy and fidelity over a number; the plain model's as dashed lines."""
    methods = _varied(report)
    panels: list[tuple[str, list[tuple[str, _Read, str]]]] = [
        ("Accuracy, percent", [("OA", _oa, PLAIN), ("uncond", _uncond, STRONG)]),
        *((name[0].upper() + name[1:], [(name, _fidelity(name), ACCENT)]) for name in report.methods[0].fidelity),
    ]
    figure = _figure(3.1 * len(panels), 2.9)
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for label, read, colour in lines:
            reads = [read(each) for each in methods]
            numbers = [each.method.varied[key] for each in methods]
            style: dict[str, Any] = {"fmt": "o-", "color": colour, "capsize": 2.5, "label": label}
            axes.errorbar(numbers, [v for v, _ in reads], yerr=_whiskers(reads), **style)
            axes.axhline(read(report.of(BASELINE))[0], color=colour, linestyle="--", linewidth=1)
        axes.set(xlabel=key, title=title)
        if len(lines) > 1:
            axes.legend(frameon=False)
            axes.set_ylim(0, 100)
    return figure


def _colours(report: Report) -> list[str]:
    """Grey for the plain model, which is the first, then a colour per method."""
    import matplotlib

    palette = [STRONG, ACCENT, SOFT, *(matplotlib.colors.to_hex(matplotlib.colormaps["tab20"](n)) for n in range(20))]
    return [PLAIN, *(palette[place % len(palette)] for place in range(len(report.methods) - 1))]
