from __future__ import annotations

import torch

from spatialguide import SpatialGuide
from spatialguide.testing import random_pipeline


def test_a_small_random_pipeline_is_guided_and_the_same_each_time() -> None:
    drawn = []
    for _ in range(2):
        pipeline = random_pipeline(["cat", "dog"])
        with SpatialGuide().attach(pipeline) as trace:
            call = {"num_inference_steps": 2, "output_type": "latent", "generator": torch.Generator().manual_seed(0)}
            drawn.append(pipeline("a cat to the left of a dog", **call).images)
        assert trace.steps[0].images[0].gradient_norm > 0
    assert torch.equal(*drawn)
    assert not torch.equal(
        drawn[0], pipeline("a cat to the left of a dog", **call | {"generator": torch.Generator().manual_seed(0)}).images
    )
