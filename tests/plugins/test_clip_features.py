"""CLIP features, loaded from a tiny checkpoint with random weights that the test saves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from spatialguide.evaluation.fidelity import FeatureChoice, load_features
from spatialguide.registry import Registry
from spatialguide_plugins.tiny.backend import WEIGHTS

COLOURS = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Not the session's, which is saved with what its last call asked for.
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "pipeline" / "tokenizer")
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**sizes, **ends, "num_hidden_layers": 1, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    vision = {**sizes, "num_hidden_layers": 4, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=side)
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_maps_embeddings_and_clip_score(checkpoint: Path) -> None:
    choice = FeatureChoice("clip", {"model": str(checkpoint), "local_files_only": True, "batch_size": 2})
    features = load_features(Registry(), "sd15", choice)
    assert features is not None
    assert features.reference is None
    extractor = features.extractor
    assert [tuple(layer.shape) for layer in extractor.maps(COLOURS)] == [(3, 16, 4, 4)] * 4
    embedded = extractor.embed(COLOURS)
    assert embedded.shape == (3, 12)
    assert embedded.dtype == torch.float64
    # Not a matter of the batch.
    assert torch.allclose(embedded[2], extractor.embed(COLOURS[2:])[0], atol=1e-4)
    prompt = "a cat to the left of a dog"
    for images in (COLOURS[:1], COLOURS):
        for text in (prompt, "a bus"):
            assert extractor.similarity(images, text) == pytest.approx(max(0.0, by_hand(checkpoint, images, text)), abs=1e-3)
    assert by_hand(checkpoint, COLOURS, prompt) != pytest.approx(by_hand(checkpoint, COLOURS, "a bus"), abs=1e-3)


def by_hand(checkpoint: Path, images: list[Image.Image], text: str) -> float:
    """100 x the mean cosine."""
    model = CLIPModel.from_pretrained(checkpoint, local_files_only=True).eval()
    processor = CLIPProcessor.from_pretrained(checkpoint, local_files_only=True)
    with torch.inference_mode():
        output = model(**processor(text=[text], images=images, return_tensors="pt", padding=True))
    return float(100 * (output.image_embeds @ output.text_embeds.T).mean())
