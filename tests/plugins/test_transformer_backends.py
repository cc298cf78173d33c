"""Backends of the large transformers, loaded from folders of small random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from families import FAMILIES, make_family
from transformers import CLIPTokenizer

from spatialguide import SpatialGuide

PROMPTS = ["a cat to the left of a dog", "a red car above a bus"]


@pytest.mark.parametrize(
    ("backend", "family"),
    [
        ("sana", "sana"),
        ("flux", "flux"),
        ("flux_schnell", "flux"),
        ("flux2_klein", "flux 2 klein"),
        ("z_image", "z-image"),
        ("z_image_turbo", "z-image"),
        ("qwen_image", "qwen"),
    ],
)
def test_a_folder_is_loaded_and_guided(
    tokenizer: CLIPTokenizer, tmp_path: Path, backend: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_family(family, tokenizer)
    pipeline.save_pretrained(tmp_path)
    if family == "qwen":  # as many as the template's beginning has with the miniature tokenizer
        start = pipeline.prompt_template_encode_start_idx
        original = type(pipeline).__init__

        def shorter(self: object, *args: object, **kwargs: object) -> None:
            original(self, *args, **kwargs)
            self.prompt_template_encode_start_idx = start  # type: ignore[attr-defined]

        shorter.__signature__ = __import__("inspect").signature(original)  # type: ignore[attr-defined]
        monkeypatch.setattr(type(pipeline), "__init__", shorter)
    side = FAMILIES[family][1]["height"]
    guide = SpatialGuide(
        backend=backend,
        backend_options={"model": str(tmp_path), "local_files_only": True},
        **{"width": side, "height": side, "steps": 2, "guidance": {"window": (0.0, 1.0), "patience": None, "settle": False}},
    )
    # The miniatures have three layers of text, and sizes of their own.
    own = {"flux 2 klein": ("text_encoder_out_layers", (1, 2, 3)), "sana": ("use_resolution_binning", False)}
    if family in own:
        monkeypatch.setitem(guide.backend.generation.call, *own[family])
    plain, guided = guide(PROMPTS, guided=False), guide(PROMPTS)
    assert len(guided.trace.steps) == 2
    assert guided.images[0].size == (side, side)
    assert not np.array_equal(np.asarray(plain.images[0]), np.asarray(guided.images[0]))
    assert guided.metadata[0]["settings"]["guidance_scale"] == guide.backend.generation.guidance_scale
