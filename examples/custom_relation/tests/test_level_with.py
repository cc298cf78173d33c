import numpy as np
import pytest
from level_with import LevelWith

from spatialguide import SpatialGuide


@pytest.mark.parametrize(
    ("subject", "ground", "holds"),
    [((0.2, 0.5), (0.8, 0.5), True), ((0.5, 0.2), (0.5, 0.8), False), ((0.2, 0.2), (0.8, 0.8), False)],
)
def test_the_distance_is_positive_where_the_relation_holds(
    subject: tuple[float, float], ground: tuple[float, float], holds: bool
) -> None:
    assert (LevelWith().distance(np.array(subject), np.array(ground)) > 0) == holds


def test_the_parser_reads_both_phrases() -> None:
    guide = SpatialGuide()
    for prompt in ("a cat level with a dog", "a cat at the same height as a dog"):
        scene = guide.parse(prompt)
        assert [scene.sentence(edge) for edge in scene.relations] == ["cat level_with dog"]


def test_alignment_guides_it() -> None:
    seen = SpatialGuide(steps=4)("a cat level with a dog").trace.steps[0].images[0]
    assert seen.terms["alignment"] > 0
    assert seen.correction_norm > 0
