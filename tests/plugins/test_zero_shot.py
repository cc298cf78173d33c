"""Zero-shot detectors, loaded from tiny checkpoints with random weights that the test saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2Processor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTProcessor,
    SwinConfig,
)

from spatialguide.contracts import Detection, Detector
from spatialguide.errors import ConfigError, PluginError
from spatialguide.evaluation.detection import make_detector
from spatialguide.registry import Registry
from spatialguide_plugins.detectors.zero_shot import _label

LABELS = ["cat", "traffic light"]


def owl(kind: str, folder: Path, tokenizer: Any) -> None:
    pytest.importorskip("scipy", reason="transformers needs it to resize images for OWL")
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
    from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil

    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**text, "image_size": 32, "patch_size": 16}
    side = {"height": 32, "width": 32}
    parts = {
        "owlvit": (OwlViTConfig, OwlViTForObjectDetection, OwlViTProcessor, OwlViTImageProcessorPil),
        "owlv2": (Owlv2Config, Owlv2ForObjectDetection, Owlv2Processor, Owlv2ImageProcessorPil),
    }
    config, model, processor, images = parts[kind]
    model(
        config(
            text_config={**text, "max_position_embeddings": tokenizer.model_max_length}, vision_config=vision, projection_dim=16
        )
    ).save_pretrained(folder)
    processor(image_processor=images(size=side), tokenizer=tokenizer).save_pretrained(folder)


def grounding_dino(folder: Path) -> None:
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?", *(word for label in LABELS for word in label.split())]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    backbone = SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, out_indices=[2, 3, 4])
    text = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2, num_queries=6,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=16, decoder_ffn_dim=16,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 160, "longest_edge": 160})
    GroundingDinoProcessor(images, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)


@pytest.fixture(scope="module", params=["owlvit", "owlv2", "grounding_dino"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_pipeline) -> Detector:
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    if request.param == "grounding_dino":
        grounding_dino(folder)
    else:
        owl(request.param, folder, tiny_pipeline.tokenizer)
    options = {"model": str(folder), "threshold": 0.0, "local_files_only": True, "batch_size": 2}
    return make_detector(Registry(), request.param, options)


def test_every_image_gets_sound_detections(detector: Detector) -> None:
    images = [Image.new("RGB", size, "red") for size in ((40, 30), (64, 64), (30, 50))]
    found = detector(images, LABELS)
    assert len(found) == 3
    assert any(found)
    for image, detections in zip(images, found, strict=True):
        assert [d.score for d in detections] == sorted((d.score for d in detections), reverse=True)
        for detection in detections:
            assert isinstance(detection, Detection)
            assert detection.label in LABELS
            x0, y0, x1, y1 = detection.box
            assert x0 >= 0
            assert x1 <= image.width
            assert y0 >= 0
            assert y1 <= image.height


def test_batches_do_not_change_what_is_found(detector: Detector) -> None:
    images = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")]
    together = detector(images, LABELS)
    alone = [detector([image], LABELS)[0] for image in images]
    for first, second in zip(together, alone, strict=True):
        assert [d.label for d in first] == [d.label for d in second]
        assert [d.score for d in first] == pytest.approx([d.score for d in second], abs=1e-4)


def test_no_labels_find_nothing(detector: Detector) -> None:
    assert detector([Image.new("RGB", (40, 40))], []) == [[]]


@pytest.mark.parametrize(
    ("phrase", "label"),
    [
        ("cat", "cat"),
        ("Cat ", "cat"),
        ("light", "traffic light"),
        ("cat traffic light", "traffic light"),
        ("dog", None),
        ("", None),
    ],
)
def test_phrases_are_led_back_to_names(phrase: str, label: str | None) -> None:
    assert _label(phrase, {name: name for name in LABELS}) == label


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    detector = make_detector(Registry(), "owlv2", {"model": str(tmp_path / "none"), "local_files_only": True})
    with pytest.raises(PluginError, match="detector 'owlv2'"):
        detector([Image.new("RGB", (40, 40))], LABELS)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ConfigError, match="modell"):
        make_detector(Registry(), "owlv2", {"modell": "x"})
