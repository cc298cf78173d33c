"""VISOR from a folder of images: detections in the publishers' format, to score or to hand on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from spatialguide.contracts import Detection, Detector
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.pictures import SUFFIXES, opened
from spatialguide.evaluation.prompts import Sr2dPrompt

_NAME = re.compile(r"(\d+)_(\d+)")
#: Side of the subject on which the relation asks for it: (axis, sign) of subject minus ground, y growing downwards.
_SIDES = {"to the left of": (0, -1), "to the right of": (0, 1), "above": (1, -1), "below": (1, 1)}


def detect_folder(
    folder: Path, prompts: Sequence[Sr2dPrompt], detector: Detector, console: Console | None = None
) -> dict[str, dict[str, Any]]:
    """Detect each image's two objects, and apply VISOR's rule.

    Args:
        folder: PNG, JPEG or WebP images named "<prompt number>_<image number>"; prompts without a relation are left out.
        prompts: from `sr2d`; the place is the number.

    Returns:
        One row per image: classes and centroid (in pixels) of the detections, recall (how many of the two objects were found),
        sra (1 if the relation holds for at least one pair of boxes), text.

    Raises:
        EvaluationError: no such images there, a number that no prompt has, or a file that is no image.
    """
    named = [(path, _NAME.fullmatch(path.stem)) for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES]
    numbered = [(path, int(match[1]), int(match[2])) for path, match in named if match is not None]
    if not numbered:
        raise EvaluationError(f"'{folder}' holds no images named PROMPT_IMAGE, such as 0_3.png: name them by their prompts")
    highest = max(number for _, number, _ in numbered)
    if highest >= len(prompts):
        raise EvaluationError(
            f"'{folder}': there is no prompt {highest}; the {len(prompts)} prompts are numbered from 0: give images of these"
        )
    counted = [item for item in numbered if prompts[item[1]].is_spatial]
    results = {}
    for path, number, place in track(counted, "detecting", console=console, transient=True):
        results[f"{number}_{place}"] = _row(opened([path])[0], prompts[number], detector)
    return results


def _row(image: Image.Image, prompt: Sr2dPrompt, detector: Detector) -> dict[str, Any]:
    names = [name for name in (prompt.subject, prompt.ground) if name is not None]
    (found,) = detector([image], names)
    present = {detection.label for detection in found}
    return {
        "classes": [detection.label for detection in found],
        "centroid": [list(detection.centroid) for detection in found],
        "recall": sum(name in present for name in names),
        "sra": int(_holds(found, prompt)),
        "text": prompt.text,
    }


def _holds(found: Sequence[Detection], prompt: Sr2dPrompt) -> bool:
    axis, sign = _SIDES[prompt.relation]
    subjects, grounds = (
        np.array([detection.centroid[axis] for detection in found if detection.label == name])
        for name in (prompt.subject, prompt.ground)
    )
    return bool((sign * (subjects[:, None] - grounds[None, :]) > 0).any())
