"""A run as one self-contained HTML page: tables, plots, and every prompt's images side by side, failures first."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from spatialguide.evaluation.plots import svg
from spatialguide.evaluation.prompts import DATA
from spatialguide.evaluation.report import Report
from spatialguide.evaluation.study import BASELINE, GUIDED
from spatialguide.evaluation.tables import described, grids, title
from spatialguide.evaluation.visor import RIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Prompts on the page; the figures are of all.
_PROMPTS = 120
#: Of a prompt: of more methods only the judged one beside the plain model is shown.
_PICTURES = 16
_SIDE = 256


@dataclass(frozen=True)
class _Shot:
    """One image on the page; boxes are (x, y, width, height, label) in percent of its sides."""

    source: str
    right: bool
    detected: bool
    double: bool
    seed: int
    boxes: tuple[tuple[float, float, float, float, str], ...]

    @property
    def verdict(self) -> str:
        words = "right" if self.right else "objects missing" if not self.detected else "wrong way round"
        return f"{words}, an object too often" if self.double else words


@dataclass(frozen=True)
class _Card:
    """One prompt on the page: how the judged method did, and every shown method's images."""

    prompt: str
    failed: int
    rows: tuple[tuple[str, tuple[_Shot, ...]], ...]


def html_page(report: Report, plots: Mapping[str, Figure]) -> str:
    """The page. Needs nothing but itself: styles, plots and pictures are in it."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((DATA / "report.html.j2").read_text(encoding="utf-8"))
    judged = GUIDED if GUIDED in report.shots else report.methods[-1].name
    cards = _cards(report, judged)
    return template.render(
        title=title(report),
        described=described(report),
        report=report,
        grids=grids(report),
        plots={name: svg(figure) for name, figure in plots.items()},
        cards=cards,
        hidden=len(report.prompts) - len(cards),
        judged=judged,
        study=json.dumps(report.study.model_dump(mode="json", exclude={"prompts"}), indent=2),
        environment=json.dumps(report.environment, indent=2),
    )


def _cards(report: Report, judged: str) -> list[_Card]:
    """The prompts that the judged method fails most often first."""
    shown = list(report.shots) if len(report.shots) <= _PICTURES else [BASELINE, judged]
    images = report.study.images
    each = max(1, min(images, _PICTURES // len(shown)))
    ranked = []
    for place, number in enumerate(report.prompts):
        rows = report.shots[judged][place * images : (place + 1) * images]
        ranked.append((sum(row["score"] < RIGHT for row in rows), place, number))
    ranked.sort(key=lambda item: (-item[0], item[1]))
    return [
        _Card(
            report.study.prompts[number],
            failed,
            tuple((name, tuple(_shot(report, row) for row in report.shots[name][place * images :][:each])) for name in shown),
        )
        for failed, place, number in ranked[:_PROMPTS]
    ]


def _shot(report: Report, row: dict[str, Any]) -> _Shot:
    with Image.open(report.folder / "images" / f"{row['key']}.png") as image:
        picture = image.convert("RGB")
    width, height = picture.size
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    # WebP without loss is smaller than PNG for small pictures; large ones may lose what no eye sees.
    picture.save(buffer, format="WEBP", lossless=width <= _SIDE, quality=85)
    boxes = tuple(
        (100 * x0 / width, 100 * y0 / height, 100 * (x1 - x0) / width, 100 * (y1 - y0) / height, found["label"])
        for found in row["detections"]
        for x0, y0, x1, y1 in (found["box"],)
    )
    source = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return _Shot(source, row["score"] >= RIGHT, row["detected"], row.get("double", False), row["seed"], boxes)
