"""Reports from run folders made by hand: figures, tables, plots, and a page that needs nothing but itself."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from spatialguide.config import make_config
from spatialguide.errors import EvaluationError
from spatialguide.evaluation import report as reports
from spatialguide.evaluation.plots import plots, svg
from spatialguide.evaluation.prompts import inflector
from spatialguide.evaluation.runs import Run
from spatialguide.evaluation.study import (
    BASELINE,
    GUIDED,
    Method,
    Study,
    benchmark_methods,
    read_study,
)
from spatialguide.evaluation.tables import grids, markdown, terminal, title

PROMPTS = ("a cat to the left of a dog", "a <b>bus</b> above a car", "a clock below a bus")
RELATIONS = (["left_of"], ["above"], ["below", "below"])


def make_run(folder: Path, methods: dict[str, Method], right: dict[str, list[int]]) -> Study:
    """A finished run with two images per prompt; right: how many of each prompt's images are, by method, all by default."""
    study = Study(benchmark="visor", prompts=PROMPTS, images=2, batch=1, seed=0, methods=methods)
    run = Run(folder, study.model_dump(mode="json"))
    with run.writing():
        fill(run, study, right)
    return study


def fill(run: Run, study: Study, right: dict[str, list[int]], looked: bool = True) -> None:
    for place, name in enumerate(study.methods):
        for number, prompt in enumerate(study.prompts):
            for image, key in enumerate(study.keys(number, name)):
                held = image < right.get(name, [2, 2, 2])[number]
                row = {
                    "prompt": prompt,
                    "seed": study.first_seed(number) + image,
                    "relations": RELATIONS[number],
                    "detected": held or image == 1,
                    "score": float(held),
                    # The second image of a prompt holds an object twice.
                    **({"strict": held and not image, "missing": not held, "double": held and image == 1} if looked else {}),
                    "detections": [{"label": "cat", "score": 0.9, "box": [8, 8, 24, 40]}],
                    "seconds": 0.5 + place,
                    "memory": 2e6 * (1 + place),
                }
                run.add(key, Image.new("RGB", (64, 64), (200, 20 * place, 50 * number)), row)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", benchmark_methods(make_config()), {BASELINE: [1, 0, 2], GUIDED: [2, 1, 2]})
    return tmp_path / "run"


def read(folder: Path) -> reports.Report:
    return reports.read_report(folder, None)


def test_figures_are_those_of_the_rows(folder: Path) -> None:
    report = read(folder)
    plain, guided = report.of(BASELINE), report.of(GUIDED)
    assert (plain.scores.uncond, guided.scores.uncond) == pytest.approx((50, 100 * 5 / 6))
    assert plain.scores.at_least == pytest.approx((200 / 3, 100 / 3))
    assert plain.comparison is None
    assert guided.comparison is not None
    assert guided.comparison.difference == pytest.approx(100 / 3)
    assert {name: figure.value for name, figure in guided.relations.items()} == {"above": 50, "below": 100, "left_of": 100}
    assert (plain.seconds, guided.seconds) == (0.5, 1.5)
    assert (plain.memory, guided.memory) == (2e6, 4e6)
    assert set(guided.fidelity) == {"saturation"}
    assert report.prompts == (0, 1, 2)
    json.dumps(report.as_dict())


def test_both_rules_are_in_every_table(folder: Path) -> None:
    report = read(folder)
    plain, guided = report.of(BASELINE).rates, report.of(GUIDED).rates
    assert {name: rate.figure.value for name, rate in plain.items()} == pytest.approx(
        {"strict": 100 * 2 / 6, "missing": 100 * 3 / 6, "double": 100 * 1 / 6}
    )
    assert plain["strict"].comparison is None
    strict = guided["strict"]
    assert strict.comparison is not None
    assert strict.comparison.difference == pytest.approx(100 / 6)
    assert strict.figure.interval.low <= 50 <= strict.figure.interval.high
    accuracy, gains, *_ = grids(report)
    assert accuracy.columns == ("method", "OA", "uncond", "cond", "strict", "missing", "double", "1", "2")
    assert gains.columns == ("method", "over unguided", "p", "strict", "p")


def test_tables_fit_a_terminal_of_120_columns(tmp_path: Path) -> None:
    from rich.console import Console

    methods = benchmark_methods(make_config(), {"paper": make_config("paper")})
    study = Study(benchmark="x", prompts=PROMPTS[:2], images=4, batch=1, seed=0, methods=methods, twins=True)
    run = Run(tmp_path, study.model_dump(mode="json"))
    with run.writing():
        fill(run, study, {BASELINE: [1, 0], GUIDED: [4, 1]})
    console = Console(width=120, record=True)
    console.print(terminal(read(tmp_path)))
    shown = console.export_text()
    for grid in grids(read(tmp_path)):
        for row in grid.rows:
            # Nothing is cut or wrapped: the figures of a method stand in one line.
            assert any(
                re.fullmatch(r"\s+".join(re.escape(cell.text) for cell in row), line.strip()) for line in shown.splitlines()
            )


def test_twins_are_right_together(tmp_path: Path) -> None:
    study = Study(
        benchmark="x", prompts=PROMPTS[:2], images=2, batch=1, seed=5, methods=benchmark_methods(make_config()), twins=True
    )
    assert [study.first_seed(number) for number in range(2)] == [5, 5]
    run = Run(tmp_path, study.model_dump(mode="json"))
    with run.writing():
        fill(run, study, {BASELINE: [2, 0], GUIDED: [2, 1]})
    report = read(tmp_path)
    assert report.of(BASELINE).rates["both"].figure.value == 0
    guided = report.of(GUIDED).rates
    assert (guided["both"].figure.value, guided["both strict"].figure.value) == (50, 50)
    assert guided["both"].comparison is not None
    assert guided["both"].comparison.difference == 50
    assert "Twos" in [grid.title for grid in grids(report)]
    rows = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join(rows[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="no prompt that all 2 methods"):
        read(tmp_path)  # half of the only two is no two


def test_a_run_that_did_not_count_objects_has_no_strict_figures(tmp_path: Path) -> None:
    study = Study(benchmark="x", prompts=PROMPTS, images=2, batch=1, seed=0, methods=benchmark_methods(make_config()))
    run = Run(tmp_path, study.model_dump(mode="json"))
    with run.writing():
        fill(run, study, {}, looked=False)
    report = read(tmp_path)
    assert report.of(GUIDED).rates["strict"].comparison is None
    json.dumps(report.as_dict(), allow_nan=False)
    assert "| guided | 100.0 (100–100) | 100.0 (100–100) | 100.0 (100–100) | – | – | – |" in markdown(report)


def test_methods_are_compared_with_the_configured_one_too(tmp_path: Path) -> None:
    methods = benchmark_methods(make_config(), {"paper": make_config("paper")})
    make_run(tmp_path, methods, {BASELINE: [0, 0, 1], GUIDED: [2, 1, 2], "paper": [1, 1, 2]})
    report = read(tmp_path)
    assert report.of(GUIDED).against_guided is None
    versus = report.of("paper").against_guided
    assert versus is not None
    assert versus.difference == pytest.approx(-100 / 6)
    assert "over guided" in markdown(report)


def test_a_run_of_an_earlier_configuration_is_read_as_it_is(folder: Path) -> None:
    """Defaults that came later are no part of its images' names."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    for method in manifest["methods"].values():
        del method["config"]["guidance"]["patience"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    older = read_study(folder)
    names = [key for name in older.methods for number in range(3) for key in older.keys(number, name)]
    assert set(names).isdisjoint(row["key"] for row in rows)
    for row, key in zip(rows, names, strict=True):
        (folder / "images" / f"{row['key']}.png").rename(folder / "images" / f"{key}.png")
        row["key"] = key
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read(folder).prompts == (0, 1, 2)


def test_figures_that_are_not_defined_are_null(folder: Path) -> None:
    make_run(folder / "none", benchmark_methods(make_config()), {BASELINE: [0, 0, 0], GUIDED: [0, 0, 0]})
    rows = (folder / "none" / "rows.jsonl").read_text(encoding="utf-8").replace('"detected": true', '"detected": false')
    (folder / "none" / "rows.jsonl").write_text(rows, encoding="utf-8")
    text = json.dumps(read(folder / "none").as_dict(), allow_nan=False)
    assert json.loads(text)["methods"][BASELINE]["scores"]["cond"] is None


@pytest.mark.parametrize("name", ["rows.jsonl", "environment.json"])
def test_a_damaged_run_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("{]\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=name):
        read(folder)


def test_a_picture_that_was_lost_is_not_done(folder: Path) -> None:
    study = read_study(folder)
    (folder / "images" / f"{study.keys(1, GUIDED)[0]}.png").unlink()
    assert read(folder).prompts == (0, 2)


def test_an_unfinished_run_counts_what_all_methods_have(folder: Path) -> None:
    rows = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "rows.jsonl").write_text("\n".join(rows[:-2]) + "\n", encoding="utf-8")
    report = read(folder)
    assert report.prompts == (0, 1)
    assert title(report) == "visor, 2 of 3 prompts x 2 images"
    (folder / "rows.jsonl").write_text(rows[0] + "\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="holds no prompt that all 2 methods have drawn"):
        read(folder)
    with pytest.raises(EvaluationError, match="holds no run"):
        read(folder / "none")
    (folder / "manifest.json").write_text('{"prompts": ["x"]}', encoding="utf-8")
    with pytest.raises(EvaluationError, match="holds a run that this version cannot read"):
        read(folder)


def test_the_terminal_and_markdown_hold_the_same_figures(folder: Path) -> None:
    from rich.console import Console

    report = read(folder)
    console = Console(width=200, record=True)
    console.print(terminal(report))
    shown, text = console.export_text(), markdown(report)
    assert text.startswith("**visor, 3 prompts x 2 images**")
    for grid in grids(report):
        assert grid.title in shown
        for row in grid.rows:
            for cell in row:
                assert cell.text in shown
                assert cell.text in text
                assert cell.interval in text
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


class Page(HTMLParser):
    """What a page refers to, and the texts of its cards."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.headings: list[str] = []
        self.alts = 0
        self._in: str | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.links += [value for name in ("src", "href") if (value := values.get(name))]
        self.alts += tag == "img" and bool(values.get("alt"))
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in == "h3" and data.strip():
            self.headings.append(data.strip())


def test_the_page_needs_nothing_but_itself_and_shows_failures_first(folder: Path) -> None:
    reports.write_report(read(folder), folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    outside = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert outside == []
    assert "url(http" not in text
    assert "<script" not in text
    # The prompt that guidance failed comes first, and its markup is text.
    assert page.headings[0] == "a <b>bus</b> above a car"
    assert len(page.headings) == 3
    assert page.alts == 12
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["finished"] == 3
    assert (folder / "report.md").read_text(encoding="utf-8") == markdown(read(folder))


@pytest.mark.slow
def test_a_page_comes_out_the_same_twice(folder: Path) -> None:
    reports.write_report(read(folder), folder)
    first = (folder / "report.html").read_bytes()
    reports.write_report(read(folder), folder)
    assert (folder / "report.html").read_bytes() == first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vary", "title"),
    [
        ({}, "Relation by relation"),
        ({"guidance.strength": [0.5, 1]}, "What guidance.strength does"),
        ({"losses": ["-each"], "steps": [2, 3]}, None),
    ],
)
def test_every_study_has_its_plots(tmp_path: Path, vary: dict[str, Any], title: str | None) -> None:
    make_run(tmp_path, benchmark_methods(make_config(), vary=vary), {})
    report = read(tmp_path)
    drawn = plots(report)
    assert set(drawn) == {"Objects and relations", "Accuracy against fidelity", *([title] if title else [])}
    for figure in drawn.values():
        assert svg(figure).startswith("<svg")
    reports.write_report(report, tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert "| guided |" in (tmp_path / "report.md").read_text()


def test_a_run_of_a_version_that_had_kinds_of_studies_is_read(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for method in manifest["methods"].values():
        del method["varied"]
        method |= {"group": "", "setting": ""}
    path.write_text(json.dumps({**manifest, "kind": "sweep"}), encoding="utf-8")
    assert read(folder).prompts == (0, 1, 2)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "find_spec", lambda name: None if name == "torchmetrics" else object())
    with pytest.raises(EvaluationError, match=r'benchmarks need torchmetrics: pip install "spatialguide\[bench\]"'):
        reports.check_installed()
    monkeypatch.setitem(sys.modules, "inflect", None)
    with pytest.raises(EvaluationError, match=r'need inflect: pip install "spatialguide\[bench\]"'):
        inflector()
