"""A judge in place of a detector: a vision-language model that answers questions about whole images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spatialguide.contracts import Detection, Detector
from spatialguide.hookspecs import hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image


class VqaJudge:
    """A model of transformers for images and text, asked how probable an answer is, as Soft-TIFA does (arXiv 2512.16853).

    A label is a question with its answer, "How many cars are in the image? two", or a name, which is asked for with yes. Each
    gives one detection, whose box is the whole image and whose score is the probability that the answer begins so.

    Args:
        model: hub id or local folder of the checkpoint, with a chat template, such as Qwen/Qwen2.5-VL-3B-Instruct.
        request: what follows the question.
        device: torch device; by default the first GPU if there is one.
        local_files_only: never look on the hub.
    """

    def __init__(
        self,
        model: str,
        request: str = "Answer in one word.",
        device: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        self._checkpoint, self._request, self._device, self._local = model, request, device, local_files_only

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        processor = AutoProcessor.from_pretrained(self._checkpoint, local_files_only=self._local)
        model = AutoModelForImageTextToText.from_pretrained(self._checkpoint, local_files_only=self._local, dtype="auto")
        return processor, model.to(device).eval()

    def __call__(self, images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        """The probability of each label's answer, most probable first."""
        found = []
        for image in images:
            box = (0.0, 0.0, float(image.width), float(image.height))
            answers = [Detection(label, self._probability(image, *_asked(label)), box) for label in labels]
            found.append(sorted(answers, key=lambda detection: -detection.score))
        return found

    def _probability(self, image: Image, question: str, answer: str) -> float:
        import torch

        processor, model = self._loaded
        content = [{"type": "image", "image": image.convert("RGB")}, {"type": "text", "text": f"{question} {self._request}"}]
        inputs = processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            chances = model(**inputs.to(model.device, model.dtype)).logits[0, -1].float().softmax(dim=-1)
        words = {before + word for word in (answer.lower(), answer.capitalize()) for before in ("", " ")}
        tokenizer = processor.tokenizer
        first = {token for word in words for token in tokenizer.encode(word, add_special_tokens=False)[:1]}
        return float(chances[sorted(first - {tokenizer.unk_token_id})].sum())


def _asked(label: str) -> tuple[str, str]:
    """Question and answer of a label."""
    question, mark, answer = label.rpartition("?")
    return (f"{question}?", answer.strip() or "yes") if mark else (f"Does this image show {label}?", "yes")


@hookimpl
def spatialguide_detectors(register: Callable[[str, Callable[..., Detector]], None]) -> None:
    """vqa."""
    register("vqa", VqaJudge)
