"""The project's acceptance: its targets against figures worked out by hand, and a whole run in small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peer_parser
import pytest
import suite
from suite import PARTS, suite_targets
from targets import visor_targets

from spatialguide.config import make_config
from spatialguide.evaluation.fidelity import FRECHET_RATIO, SATURATION
from spatialguide.evaluation.parser_benchmark import ParserReport, Speed, Templates
from spatialguide.evaluation.parsing import score_records
from spatialguide.evaluation.report import MethodReport
from spatialguide.evaluation.study import BASELINE, GUIDED, Method, read_study
from spatialguide.evaluation.uncertainty import Comparison, Figure, Interval
from spatialguide.evaluation.visor import VisorScores

OBJECTS = [{"id": key, "text": text, "attributes": [], "count": 1} for key, text in (("a", "cat"), ("b", "dog"))]
SPREAD = Interval(0, 100)


def figures(name: str, oa: float, uncond: float, every: float, frechet: float, saturation: float) -> MethodReport:
    # Each interval says which figure it is of: OA, uncond, cond, and prompts with 1 to 4 right images.
    intervals = tuple(Interval(number, number + 50) for number in range(7))
    scores = VisorScores(oa, uncond, 100 * uncond / oa, (100.0, 100.0, 100.0, every), 8, intervals)
    fidelity = {FRECHET_RATIO: Figure(frechet, SPREAD), SATURATION: Figure(saturation, SPREAD)}
    return MethodReport(name, Method(config=make_config()), scores, None, None, {}, {}, fidelity, 1.0, None)


def report(guided: MethodReport, *others: MethodReport, plain: MethodReport | None = None) -> Any:
    methods = (plain or figures(BASELINE, 90, 50, 10, 1, 20), guided, *others)
    return SimpleNamespace(methods=methods, of=lambda name: next(each for each in methods if each.name == name))


def reports(guided: MethodReport, paper: MethodReport) -> dict[str, Any]:
    return {title: report(guided, paper) for title in PARTS}


def test_what_reaches_every_target_and_what_reaches_none() -> None:
    lead = Comparison(-30.0, Interval(-40, -20), 0.01)
    paper = replace(figures("paper", 90, 60, 40, 1.8, 15), against_guided=lead)
    good = suite_targets(reports(figures(GUIDED, 95, 90, 75, 1.1, 20.9), paper))
    assert [target.name for target in good if not target.reached] == []
    ahead, four = (target for target in good if target.name.endswith("over paper"))
    assert four.name == "four objects: VISOR_uncond over paper"
    assert ahead.measured == "+30.0 (+20 to +40), p = 0.01"
    measured = {target.name: target.measured for target in good}
    assert measured["two objects: VISOR_uncond"] == "90.0% (1 to 51), unguided 50.0% (1 to 51)"
    assert measured["two objects: OA"] == "95.0% (0 to 50), unguided 90.0% (0 to 50)"
    assert measured["two objects: VISOR_4"] == "75.0% (6 to 56)"
    assert measured["two objects: Frechet distance over unguided"] == "1.10 (0.00 to 100.00), paper 1.80; 8 images"
    assert measured["two objects: change of saturation"] == "+4.5%, paper -25.0%"
    (rare,) = (target for target in good if target.wanted.startswith(">= 1.5"))
    assert rare.measured.endswith("1.50 times")

    behind = replace(paper, against_guided=Comparison(0.0, Interval(-2, 2), 1.0))
    bad = suite_targets(reports(figures(GUIDED, 89, 49, 74, 1.11, 18.9), behind))
    assert [target.name for target in bad if target.reached] == []
    assert any(target.measured == "+0.0 (-2 to +2), p = 1, not certain" for target in bad)


def test_rare_pairs_are_held_to_the_higher_mark() -> None:
    """Rare pairs 80 unguided; common ones 90 unguided and 100 guided: halfway is 85 to 90."""

    def rare(oa: float) -> Any:
        guided, paper = figures(GUIDED, oa, oa, oa, 1, 20), figures("paper", 80, 50, 40, 1, 20)
        found = reports(guided, paper)
        found["rare pairs"] = report(guided, paper, plain=figures(BASELINE, 80, 40, 10, 1, 20))
        found["common pairs"] = report(figures(GUIDED, 100, 100, 100, 1, 20))
        return next(target for target in suite_targets(found) if target.name == "rare pairs: OA")

    assert rare(90).reached
    assert not rare(89).reached
    assert "halfway 85.0% to 90.0%" in rare(89).measured


@pytest.mark.slow
def test_a_suite_of_one_part_prints_it_and_its_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = "two objects in 192x160"
    monkeypatch.setattr(suite, "PARTS", {part: replace(PARTS[part], others=("paper", "boxdiff"))})
    monkeypatch.setattr(suite, "suite_targets", lambda found: [*suite._rivals(part, found[part])])
    (tmp_path / "quick.yaml").write_text("steps: 1")
    suite.main(prompts=4, images=1, folder=tmp_path, config=tmp_path / "quick.yaml")
    printed = capsys.readouterr().out
    assert f"{part}: visor, 4 prompts x 1 images" in printed
    assert "over boxdiff" in " ".join(printed.split())
    study = read_study(tmp_path / "two_objects_in_192x160")
    assert {(each.config.width, each.config.height) for each in study.methods.values()} == {(192, 160)}
    assert list(study.methods["boxdiff"].config.losses) == ["boxdiff"]
    assert len(suite.PEERS) == 7


def test_every_part_is_another_run_and_has_its_targets() -> None:
    assert len({(part.benchmark, str(part.options), str(part.settings)) for part in PARTS.values()}) == len(PARTS)
    paper = replace(figures("paper", 90, 60, 40, 1.8, 15), against_guided=Comparison(-30.0, Interval(-40, -20), 0.01))
    named = {target.name.split(":")[0] for target in suite_targets(reports(figures(GUIDED, 95, 90, 75, 1.1, 20.9), paper))}
    assert named == set(PARTS) - {"common pairs"}  # to which rare ones are compared


def test_targets_compare_with_what_is_wanted() -> None:
    def reached(unguided: tuple[float, float], guided: tuple[float, float]) -> list[bool]:
        scores = [VisorScores(oa, oa * cond / 100, cond, ()) for oa, cond in (unguided, guided)]
        return [target.reached for target in visor_targets(*scores)]

    assert reached((70, 45), (67, 90)) == [True] * 4
    assert reached((69, 66), (65, 89)) == [False] * 4


def test_the_parser_is_held_to_its_targets_and_to_its_peer() -> None:
    rows = [
        {"id": name, "category": name, "prompt": name, "objects": OBJECTS, "relations": [["a", "above", "b"]]} for name in "xy"
    ]
    mine = score_records(rows, rows)
    graph = {
        "entities": [{"lemma_head": name, "modifiers": []} for name in ("cat", "dog")],
        "relations": [{"subject": 0, "relation": "Above", "object": 1}],
    }
    peer = score_records(rows, [{**peer_parser._record(graph, {"above": "above"}), "prompt": "x"}])
    report = ParserReport((Templates("t", 4, 3, ("z",)),), mine, Speed(600.0, 9.0, 1.0))
    missed = [target.name for target in peer_parser.parser_targets(report, peer) if not target.reached]
    assert missed == ["t, 4 prompts exact", "ahead of scenegraphparser by class"]
    assert peer_parser.comparison(mine, peer).row_count == 7
