from __future__ import annotations

import json

from spatialguide.guidance.trace import ImageStep, Step, Trace


def trace() -> Trace:
    image = ImageStep({"alignment": 0.1, "presence": 0.2}, 0.3, ((0.2, 0.5), (0.8, 0.5)), 1.0, 2.0, False)
    return Trace([Step(i, 900.0 - i, (image, None)) for i in range(3)])


def test_as_dict_is_json() -> None:
    data = json.loads(json.dumps(trace().as_dict()))
    assert data["steps"][2]["images"][0]["terms"] == {"alignment": 0.1, "presence": 0.2}
    assert data["steps"][0]["images"][1] is None


def test_skipped_counts_images_that_were_left_uncorrected() -> None:
    bad = ImageStep({}, float("nan"), (), 0.0, 0.0, True)
    assert Trace([*trace().steps, Step(3, 1.0, (bad, bad))]).skipped == 2
