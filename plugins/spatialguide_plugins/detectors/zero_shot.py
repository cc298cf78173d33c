"""Detectors that take any object name: OWL-ViT, OWLv2 and Grounding DINO, through transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from spatialguide.contracts import Detection, Detector
from spatialguide.hookspecs import hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image


class ZeroShotDetector:
    """A zero-shot object detector of transformers.

    Args:
        model: hub id or local folder of the checkpoint.
        query: how a name is asked for; VISOR asks OWL-ViT for "a photo of a cat".
        threshold: detections with a lower score are left out; VISOR takes 0.1.
        device: torch device; by default the first GPU if there is one.
        batch_size: images per forward pass.
        local_files_only: never look on the hub.
    """

    def __init__(
        self,
        model: str,
        query: str = "{name}",
        threshold: float = 0.1,
        device: str | None = None,
        batch_size: int = 8,
        local_files_only: bool = False,
    ) -> None:
        self._checkpoint = model
        self._query = query
        self._threshold = threshold
        self._device = device
        self._batch_size = batch_size
        self._local = local_files_only

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        processor = AutoProcessor.from_pretrained(self._checkpoint, local_files_only=self._local)
        model = AutoModelForZeroShotObjectDetection.from_pretrained(self._checkpoint, local_files_only=self._local)
        return processor, model.to(device).eval()

    def __call__(self, images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        """Detect the labels in each image; one list per image, best score first, boxes in pixels and inside the image."""
        if not labels:
            return [[] for _ in images]
        found: list[list[Detection]] = []
        for start in range(0, len(images), self._batch_size):
            found += self._detect(images[start : start + self._batch_size], labels)
        return found

    def _detect(self, images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        import torch

        processor, model = self._loaded
        names = {self._query.format(name=label).lower(): label for label in labels}
        queries = [list(names)] * len(images)
        inputs = processor(text=queries, images=[image.convert("RGB") for image in images], return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**inputs.to(model.device))
        sizes = [(image.height, image.width) for image in images]
        results = processor.post_process_grounded_object_detection(
            outputs, threshold=self._threshold, target_sizes=sizes, text_labels=queries
        )
        return [_detections(result, names, image.size) for result, image in zip(results, images, strict=True)]


def _detections(result: Any, names: dict[str, str], size: tuple[int, int]) -> list[Detection]:
    width, height = size
    found = []
    for box, score, phrase in zip(result["boxes"].tolist(), result["scores"].tolist(), result["text_labels"], strict=True):
        label = _label(phrase, names)
        if label is not None:
            x0, y0, x1, y1 = box
            inside = (max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1))
            found.append(Detection(label, score, inside))
    return sorted(found, key=lambda detection: -detection.score)


def _label(phrase: str, names: dict[str, str]) -> str | None:
    """The name that a phrase answers. Grounding DINO may answer with a part of a query, or with two run together."""
    phrase = phrase.strip().lower()
    if phrase in names:
        return names[phrase]
    held = [query for query in names if query in phrase] or [query for query in names if phrase and phrase in query]
    return names[max(held, key=len)] if held else None


@hookimpl
def spatialguide_detectors(register: Callable[[str, Callable[..., Detector]], None]) -> None:
    """owlvit, owlv2, grounding_dino."""
    photo = "a photo of a {name}"
    register("owlvit", partial(ZeroShotDetector, model="google/owlvit-base-patch32", query=photo))
    register("owlv2", partial(ZeroShotDetector, model="google/owlv2-base-patch16-ensemble", query=photo))
    register("grounding_dino", partial(ZeroShotDetector, model="IDEA-Research/grounding-dino-tiny", threshold=0.25))
