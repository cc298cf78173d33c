from pathlib import Path

import numpy as np
import pytest
import torch

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError


def test_a_saved_pipeline_is_loaded_and_guided_like_the_one_it_was(tmp_path: Path) -> None:
    size = {"steps": 4, "width": 64, "height": 64}
    bundled = SpatialGuide(**size)
    bundled.pipeline.save_pretrained(tmp_path / "mine")
    mine = SpatialGuide(backend="studio", backend_options={"model": str(tmp_path / "mine"), "device": "cpu"}, **size)
    prompt = "a cat to the left of a dog"
    for guide in (bundled, mine):
        # Weights from a file lie at whatever address they have there, the bundled ones in another order: kernels round by it.
        for part in (guide.pipeline.unet, guide.pipeline.text_encoder, guide.pipeline.vae):
            part.to(memory_format=torch.contiguous_format)
            for weight in part.parameters():
                weight.data = weight.data.clone()
    first, second = (guide(prompt, seed=3) for guide in (bundled, mine))
    assert second.trace.steps
    assert np.array_equal(np.asarray(first.images[0]), np.asarray(second.images[0]))


def test_without_a_folder_it_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="model"):
        _ = SpatialGuide(backend="studio").pipeline
