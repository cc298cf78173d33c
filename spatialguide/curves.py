"""Curves of a trace in matplotlib, which is only loaded with this module."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from spatialguide.pictures import colour_of, figure_bytes
from spatialguide.trace import ImageStep


class CurvesFigure(Figure):
    """A figure that notebooks show, whether pyplot was set up there or not."""

    def _repr_png_(self) -> bytes:
        return figure_bytes(self, dpi=80)


def trace_curves(rows: Sequence[tuple[int, ImageStep]], names: Sequence[str]) -> Figure:
    """Loss terms, corrections and centroid paths of one image. rows: (number of the sampling step, what was seen)."""
    figure = CurvesFigure(figsize=(12, 3.8), layout="constrained")
    losses, strength, paths = figure.subplots(1, 3)
    steps = [index + 1 for index, _ in rows]
    for term in rows[0][1].terms:
        losses.plot(steps, [seen.terms[term] for _, seen in rows], marker=".", label=term)
    losses.set(xlabel="sampling step", title="Loss terms")
    if rows[0][1].terms:
        losses.legend()
    strength.bar(steps, [seen.correction_norm for _, seen in rows], color="#7f7f7f")
    strength.set(xlabel="sampling step", title="Correction, Euclidean norm")
    for number in range(len(rows[0][1].centroids)):
        x, y = zip(*(seen.centroids[number] for _, seen in rows), strict=True)
        label = names[number] if number < len(names) else f"object {number}"
        paths.plot(x, y, marker=".", linewidth=1, label=label, color=colour_of(number))
        paths.plot(x[-1], y[-1], marker="o", markersize=10, color=colour_of(number))
    paths.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", title="Centroids, from first to last", xlabel="x", ylabel="y")
    paths.legend()
    for axes in (losses, strength, paths):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure
