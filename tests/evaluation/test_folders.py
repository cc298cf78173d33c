"""Folders of images as publications lay them out, scored from the command line by a detector that a test provides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from spatialguide.commands.main import app
from spatialguide.contracts import Detection
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.folders import score_folder
from spatialguide.guide import SpatialGuide

PROMPT = "a photo of a dog right of a bed"
LINE = {
    "tag": "position",
    "include": [{"class": "bed", "count": 1}, {"class": "dog", "count": 1, "position": ["right of", 0]}],
    "prompt": PROMPT,
}
RIGHT, DOUBLED, WRONG = "red", "green", "blue"


def find(images: Sequence[Image.Image], labels: Sequence[str]) -> list[list[Detection]]:
    """A red image shows a bed and a dog to its right, a green one two dogs there, a blue one a dog to its left."""
    assert set(labels) == {"bed", "dog"}

    def box(label: str, x: float) -> Detection:
        return Detection(label, 0.9, (x - 4, 20, x + 4, 28))

    dogs = {(255, 0, 0): [50], (0, 128, 0): [42, 56], (0, 0, 255): [10]}
    return [[box("bed", 30), *(box("dog", x) for x in dogs[image.getpixel((0, 0))])] for image in images]


def geneval(folder: Path, *colours: str) -> Path:
    (folder / "00000" / "samples").mkdir(parents=True)
    (folder / "00000" / "metadata.jsonl").write_text(json.dumps(LINE), encoding="utf-8")
    for number, colour in enumerate(colours):
        Image.new("RGB", (64, 64), colour).save(folder / "00000" / "samples" / f"{number:04}.png")
    return folder


@pytest.fixture(scope="module")
def guide() -> SpatialGuide:
    return SpatialGuide()


def test_a_folder_of_genevals_is_scored_by_both_rules(tmp_path: Path, guide: SpatialGuide) -> None:
    scores = score_folder("geneval", geneval(tmp_path / "one", RIGHT, DOUBLED, WRONG, WRONG), find, guide)
    assert scores.images == 4
    assert {name: figure.value for name, figure in scores.figures.items()} == {
        "OA": 100,
        "uncond": 50,
        "strict": 25,
        "missing": 0,
        "double": 25,
    }
    other = score_folder("geneval", geneval(tmp_path / "other", WRONG), find, guide)
    assert {name: gain.difference for name, gain in scores.against(other).items()} == {"uncond": 50, "strict": 25}


def test_a_folder_of_compbenchs_is_scored(tmp_path: Path, guide: SpatialGuide) -> None:
    for number, colour in enumerate((RIGHT, WRONG)):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"a dog on the right of a bed_{number:06}.png")
    figures = score_folder("t2i", tmp_path, find, guide).figures
    # T2I-CompBench gives a quarter of each score, and half for the place.
    assert figures["uncond"].value == pytest.approx(100 * (0.25 * 1.8 + 0.5) / 2)
    assert figures["strict"].value == 50
    with pytest.raises(EvaluationError, match="no layout of folders"):
        score_folder("visor", tmp_path, find, guide)


def test_the_command_prints_figures_with_intervals(tmp_path: Path) -> None:
    folder = geneval(tmp_path, RIGHT, WRONG)
    arguments = ["score", "geneval", str(folder), "--detector", "tiny", "--against", str(folder)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "95% from" in shown.stdout
    assert "strict against" in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["images"] == 2
    assert set(found["figures"]) == {"OA", "uncond", "strict", "missing", "double"}
    assert found["comparison"]["strict"]["difference"] == 0
