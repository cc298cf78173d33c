import pytest

from spatialguide import SpatialGuide
from spatialguide.errors import PromptError


def test_arrows_become_relations_between_neighbours() -> None:
    scene = SpatialGuide(parser="arrows").parse("cat -> dog ^ red car")
    assert [item.text for item in scene.objects] == ["cat", "dog", "red car"]
    assert [scene.sentence(edge) for edge in scene.relations] == ["cat left_of dog", "dog above red car"]
    assert [scene.prompt[item.span.start : item.span.end] for item in scene.objects] == ["cat", "dog", "red car"]


def test_it_draws() -> None:
    result = SpatialGuide(parser="arrows", steps=2, width=64, height=64)("cat -> dog")
    assert result.images[0].size == (64, 64)
    assert result.trace.steps[0].images[0].terms["alignment"] > 0


@pytest.mark.parametrize("prompt", ["cat ->", "-> dog", "cat -> ^ dog"])
def test_a_loose_arrow_is_named(prompt: str) -> None:
    with pytest.raises(PromptError, match="beside an arrow"):
        SpatialGuide(parser="arrows").parse(prompt)
