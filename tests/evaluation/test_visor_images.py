"""A folder of images, scored by VISOR's rule with a detector that reads the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from spatialguide.contracts import Detection
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.prompts import sr2d
from spatialguide.evaluation.visor import score_detections
from spatialguide.evaluation.visor_images import detect_folder

PROMPTS = sr2d(["cat", "dog"])  # 0: cat left of dog, 1: dog left of cat, 2, 3: right, 4, 5: above, 6, 7: below, then "and"


def detector(images, labels):
    """Bright red is a cat, bright blue a dog, where they are."""
    found = []
    for image in images:
        boxes = []
        for x in range(image.width):
            for y in range(image.height):
                name = {(255, 0, 0): "cat", (0, 0, 255): "dog"}.get(image.getpixel((x, y)))
                if name in labels:
                    boxes.append(Detection(name, 0.9, (x, y, x + 1, y + 1)))
        found.append(boxes)
    return found


def draw(path: Path, cat: tuple[int, int] | None, dog: tuple[int, int] | None) -> None:
    image = Image.new("RGB", (9, 9))
    for place, colour in ((cat, "red"), (dog, "blue")):
        if place is not None:
            image.putpixel(place, Image.new("RGB", (1, 1), colour).getpixel((0, 0)))
    image.save(path)


def test_every_relation_both_ways(tmp_path: Path) -> None:
    places = {0: ((1, 4), (7, 4)), 2: ((7, 4), (1, 4)), 4: ((4, 1), (4, 7)), 6: ((4, 7), (4, 1))}
    for number, (subject, ground) in places.items():
        draw(tmp_path / f"{number}_0.png", subject, ground)
        draw(tmp_path / f"{number}_1.png", ground, subject)
        draw(tmp_path / f"{number}_2.png", subject, None)
    draw(tmp_path / "8_0.png", (1, 1), (2, 2))  # "a cat and a dog" does not count
    (tmp_path / "notes.txt").write_text("not an image")
    results = detect_folder(tmp_path, PROMPTS, detector)
    assert len(results) == 12
    assert [results[f"{n}_{i}"]["sra"] for n in places for i in range(3)] == [1, 0, 0] * 4
    assert [results[f"0_{i}"]["recall"] for i in range(3)] == [2, 2, 1]
    assert results["0_0"] == {
        "classes": ["cat", "dog"],
        "centroid": [[1.5, 4.5], [7.5, 4.5]],
        "recall": 2,
        "sra": 1,
        "text": "a cat to the left of a dog",
    }
    scores = score_detections(results, PROMPTS)
    assert (scores.oa, scores.uncond, scores.cond) == pytest.approx((100 * 2 / 3, 100 / 3, 50))


def test_folders_that_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(
        EvaluationError, match=r"holds no images named PROMPT_IMAGE, such as 0_3.png: name them by their prompts"
    ):
        detect_folder(tmp_path, PROMPTS, detector)
    (tmp_path / "0_0.png").write_text("no image")
    with pytest.raises(EvaluationError, match=r"cannot read the image .*0_0\.png"):
        detect_folder(tmp_path, PROMPTS, detector)
    draw(tmp_path / "99_0.png", None, None)
    with pytest.raises(EvaluationError, match=r"there is no prompt 99; .*: give images of these"):
        detect_folder(tmp_path, PROMPTS, detector)
