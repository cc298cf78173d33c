from pathlib import Path

import numpy as np
import pytest

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError


def test_a_saved_pipeline_is_loaded_and_guided_like_the_one_it_was(tmp_path: Path) -> None:
    bundled = SpatialGuide(steps=4)
    bundled.pipeline.save_pretrained(tmp_path / "mine")
    mine = SpatialGuide(backend="studio", backend_options={"model": str(tmp_path / "mine"), "device": "cpu"}, steps=4)
    prompt = "a cat to the left of a dog"
    first, second = (guide(prompt, seed=3) for guide in (bundled, mine))
    assert second.trace.steps
    # The same weights lie elsewhere in memory, which moves the gradient's last bits.
    pixels = [np.asarray(result.images[0]).astype(int) for result in (first, second)]
    assert abs(pixels[0] - pixels[1]).max() <= 1


def test_without_a_folder_it_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="model"):
        _ = SpatialGuide(backend="studio").pipeline
