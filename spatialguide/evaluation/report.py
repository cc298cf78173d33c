"""Reports: everything that a run's rows and images say about its methods. Made from the folder alone, at any time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialguide.errors import EvaluationError, OutputError
from spatialguide.evaluation.fidelity import Features, FidelityMeter
from spatialguide.evaluation.runs import Run, read_manifest
from spatialguide.evaluation.study import BASELINE, GUIDED, Method, Study, read_study
from spatialguide.evaluation.uncertainty import Comparison, Figure, compare, mean_figure
from spatialguide.evaluation.visor import RIGHT, VisorScores, aggregate
from spatialguide.files import write_text

_DPI = 150
_Rows = Sequence[dict[str, Any]]
_Read = Callable[[_Rows], NDArray[np.float64]]
#: Not compared with the configured guidance.
_OWN = (BASELINE, GUIDED)
_NEEDED = ("torchmetrics", "matplotlib", "jinja2", "inflect", "filelock")


@dataclass(frozen=True)
class Rate:
    """A share of a method's images, in percent, and what it is over the same of others', paired as in `MethodReport`."""

    figure: Figure
    comparison: Comparison | None
    against_guided: Comparison | None


@dataclass(frozen=True)
class MethodReport:
    """One method's figures.

    Attributes:
        scores: accuracy in percent, with intervals.
        comparison: `uncond` against the plain model's, paired over prompts; None for the plain model.
        against_guided: the same against the configured guidance; None for itself, and where a study has none.
        rates: images that are right by the strict rule ("strict"), that lack an object ("missing") or hold one too often
            ("double"), see `spatialguide.evaluation.strict`. Of prompts that come in twos also seeds with which both are right,
            by the benchmark's rule ("both") and by the strict one ("both strict"). NaN for runs of versions that did not look.
        relations: `uncond` of the prompts that hold each predicate.
        fidelity: by name, see `spatialguide.evaluation.fidelity`.
        seconds: per image, median over batches.
        memory: bytes per image at the peak of a batch, above the loaded model, median; None where it was not measured.
    """

    name: str
    method: Method
    scores: VisorScores
    comparison: Comparison | None
    against_guided: Comparison | None
    rates: dict[str, Rate]
    relations: dict[str, Figure]
    fidelity: dict[str, Figure]
    seconds: float
    memory: float | None


@dataclass(frozen=True)
class Report:
    """A run's figures.

    Attributes:
        prompts: numbers of the prompts that all methods have drawn; figures are of these.
        features: name of the feature extractor, None where there was none.
        seed_distance: distance between two of the plain model's images of a prompt, a scale for the fidelity figure "distance".
    """

    study: Study
    environment: dict[str, Any]
    prompts: tuple[int, ...]
    methods: tuple[MethodReport, ...]
    features: str | None
    reference: int
    seed_distance: float | None
    shots: dict[str, list[dict[str, Any]]]
    folder: Path

    def of(self, name: str) -> MethodReport:
        """The figures of the method of this name."""
        (found,) = (method for method in self.methods if method.name == name)
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready copy, without the images' rows."""
        return {
            "study": self.study.model_dump(mode="json"),
            "environment": self.environment,
            "finished": len(self.prompts),
            "features": self.features,
            "reference": self.reference,
            "seed_distance": self.seed_distance,
            "methods": {each.name: _method_dict(each) for each in self.methods},
        }


def check_installed() -> None:
    """Raise EvaluationError where what reports need is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise EvaluationError(f'benchmarks need {", ".join(missing)}: pip install "spatialguide[bench]"')


def read_report(folder: Path, features: Features | None) -> Report:
    """Score a run, finished or not; what is not drawn by all methods is left out.

    Args:
        features: for fidelity, from `spatialguide.evaluation.fidelity.load_features`.

    Raises:
        EvaluationError: the folder holds no run, or no prompt that all methods have drawn.
    """
    study = read_study(folder)
    run = Run(folder, read_manifest(folder))
    drawn = {n for n in range(len(study.prompts)) if all(run.has(study.keys(n, name)) for name in study.methods)}
    finished = tuple(n for n in sorted(drawn) if not study.twins or n ^ 1 in drawn)
    if not finished:
        raise EvaluationError(
            f"'{folder}' holds no prompt that all {len(study.methods)} methods have drawn: start the run again, it goes on"
        )
    shots = {name: [run.row(key) for n in finished for key in study.keys(n, name)] for name in study.methods}
    pictures = {name: [[run.picture(key) for key in study.keys(n, name)] for n in finished] for name in study.methods}
    meter = FidelityMeter([study.prompts[n] for n in finished], pictures[BASELINE], features)
    methods = tuple(_method_report(name, study, shots, meter.figures(pictures[name])) for name in shots)
    return Report(
        study=study,
        environment=run.environment(),
        prompts=finished,
        methods=methods,
        features=features.name if features else None,
        reference=_size(features),
        seed_distance=meter.seed_distance(),
        shots=shots,
        folder=folder,
    )


def write_report(report: Report, folder: Path) -> None:
    """report.json, report.md, report.html (one self-contained page) and plots/, in the folder."""
    from spatialguide.evaluation.page import html_page
    from spatialguide.evaluation.plots import plots
    from spatialguide.evaluation.tables import markdown

    drawn = plots(report)
    try:
        (folder / "plots").mkdir(exist_ok=True)
        for name, figure in drawn.items():
            figure.savefig(folder / "plots" / f"{name.lower().replace(' ', '_')}.png", dpi=_DPI)
    except OSError as error:
        raise OutputError(
            f"cannot write the report in '{folder}': {error.strerror}; free the place, then `spatialguide bench report`"
        ) from error
    write_text(folder / "report.json", json.dumps(report.as_dict(), indent=2) + "\n")
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "report.html", html_page(report, drawn))


def _method_report(
    name: str, study: Study, shots: Mapping[str, Sequence[dict[str, Any]]], fidelity: dict[str, Figure]
) -> MethodReport:
    images, rows = study.images, shots[name]
    detected, right = _column(rows, "detected"), _column(rows, "score")
    rates = _per_prompt(_column(rows, "score"), images)
    held: dict[str, list[float]] = {}
    for row, rate in zip(rows[::images], rates, strict=True):
        for predicate in dict.fromkeys(row["relations"]):
            held.setdefault(predicate, []).append(float(rate))
    used = [row["memory"] for row in rows if row["memory"] is not None]
    reads = {column: _reader(column, images) for column in ("strict", "missing", "double")}
    if study.twins:
        reads |= {"both": _both_reader("score", images), "both strict": _both_reader("strict", images)}

    def rated(read: _Read) -> Rate:
        others = (BASELINE if name != BASELINE else None, GUIDED if GUIDED in shots and name not in _OWN else None)
        mine = read(rows)
        versus = [None if other is None or np.isnan(mine).any() else compare(read(shots[other]), mine) for other in others]
        return Rate(mean_figure(mine), *versus)

    whole = rated(_reader("score", images))
    return MethodReport(
        name=name,
        method=study.methods[name],
        scores=aggregate(np.repeat(np.arange(len(rates)), images), detected, right, images),
        comparison=whole.comparison,
        against_guided=whole.against_guided,
        rates={column: rated(read) for column, read in reads.items()},
        relations={predicate: mean_figure(np.array(values)) for predicate, values in sorted(held.items())},
        fidelity=fidelity,
        # Medians: another process on the machine must not look like a slower method.
        seconds=float(np.median([row["seconds"] for row in rows])),
        memory=float(np.median(used)) if used else None,
    )


def _column(rows: _Rows, name: str) -> NDArray[np.float64]:
    """A column of the images' rows; NaN where a row lacks it."""
    return np.array([float(row.get(name, math.nan)) for row in rows])


def _per_prompt(values: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    """Mean of each prompt's images, in percent."""
    rates: NDArray[np.float64] = 100 * values.reshape(-1, images).mean(axis=1)
    return rates


def _reader(column: str, images: int) -> _Read:
    return lambda rows: _per_prompt(_column(rows, column), images)


def _both_reader(column: str, images: int) -> _Read:
    """Of each two prompts, the seeds with which both are right."""

    def read(rows: _Rows) -> NDArray[np.float64]:
        values = _column(rows, column)
        right = np.where(np.isnan(values), values, values >= RIGHT)
        return _per_prompt(right.reshape(-1, 2, images).min(axis=1).ravel(), images)

    return read


def _size(features: Features | None) -> int:
    return len(features.reference) if features is not None and features.reference is not None else 0


def _method_dict(report: MethodReport) -> dict[str, Any]:
    kept = {key: value for key, value in vars(report).items() if key not in ("name", "method")}
    return {key: json_ready(value) for key, value in kept.items()}


def json_ready(value: Any) -> Any:
    """JSON-ready: a figure that is not defined is null, since JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: json_ready(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(each) for each in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return json_ready(asdict(value)) if hasattr(value, "__dataclass_fields__") else value
