"""Placement, presence first, overlap: values on maps computed by hand, gradients, gates per object and image."""

from __future__ import annotations

import pytest
import torch
from test_peers import EMPTY, HALVES, LEFT, RIGHT, chain, grids, probabilities, scene, statistics

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError, ContradictionError, UnguidedWarning
from spatialguide.losses import make_terms
from spatialguide.records import scene_from_triples
from spatialguide.registry import Registry
from spatialguide_plugins.overlap import Overlap
from spatialguide_plugins.placement import Placement
from spatialguide_plugins.presence_first import PresenceFirst

NAMES = ("placement", "presence_first", "overlap")
LEVELS = {"levels": ("coarse",)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("objects", [1, 2, 4])
def test_gradients_are_finite_and_images_do_not_mix(registry: Registry, name: str, objects: int) -> None:
    term = registry.get("losses", name)(**LEVELS)
    logits = torch.randn(3, objects, 6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = term(statistics(probabilities(logits)), chain(objects), registry.relations())
    assert loss.shape == (3,)
    assert loss.isfinite().all()
    if objects > 1:
        (gradient,) = torch.autograd.grad(loss[1], logits)
        assert gradient.isfinite().all()
        assert gradient[1].abs().sum() > 0
        assert not gradient[[0, 2]].any()


@pytest.mark.parametrize("name", NAMES)
def test_empty_maps_give_finite_losses(registry: Registry, name: str) -> None:
    term = registry.get("losses", name)(**LEVELS)
    loss = term(statistics(grids(EMPTY, EMPTY)), scene(2, (0, "left_of", 1)), registry.relations())
    assert loss.isfinite().all()


def test_placement_is_zero_for_maps_that_equal_their_masks(registry: Registry) -> None:
    term = Placement(boxes=HALVES, fraction=1.0, **LEVELS)
    two = scene(2, (0, "left_of", 1))
    assert term(statistics(grids(LEFT, RIGHT)), two, registry.relations()).item() == pytest.approx(0)
    # All wrong: inside 1, outside 1, extent: both columns off by one, no row is.
    assert term(statistics(grids(RIGHT, LEFT)), two, registry.relations()).item() == pytest.approx(1 + 1 + 1)
    alone = {"inside": 0, "outside": 0, "extent": 0}
    for part, value in (("inside", 1.0), ("outside", 1.0), ("extent", 1.0)):
        weighed = Placement(boxes=HALVES, fraction=1.0, **LEVELS, **{**alone, part: 2.0})
        assert weighed(statistics(grids(RIGHT, LEFT)), two, registry.relations()).item() == pytest.approx(2 * value)


def test_placement_follows_the_image_where_the_relation_leaves_it_open(registry: Registry) -> None:
    """Cats at the top left and dogs at the bottom right lie in boxes of their own heights."""
    maps = torch.zeros(1, 2, 10, 10)
    maps[0, 0, 1:4, 1:4] = 1
    maps[0, 1, 6:9, 6:9] = 1
    term = Placement(outside=1, inside=0, extent=0, **LEVELS)
    two = scene(2, (0, "left_of", 1))
    assert term(statistics(maps), two, registry.relations()).item() == pytest.approx(0)
    assert term(statistics(maps.flip(1)), two, registry.relations()).item() > 0.5
    assert Placement(outside=1, inside=0, extent=0, slack=0, **LEVELS)(
        statistics(maps), two, registry.relations()
    ).item() == pytest.approx(0)


def test_placement_wants_as_many_spots_as_the_object_is_asked_for(registry: Registry) -> None:
    prompt = "two cats to the left of a dog"
    two_cats = SpatialGuide(registry=registry).parse(prompt)
    assert two_cats.objects[0].count == 2
    one_cat = SpatialGuide(registry=registry).parse("a cat to the left of a dog")
    maps = torch.zeros(1, 2, 20, 20)
    maps[0, 0, 8:12, 2:4] = 1  # one spot in the left part of the cats' box
    maps[0, 1, 8:12, 14:16] = 1
    boxes = ((0.05, 0.3, 0.45, 0.7), (0.55, 0.3, 0.95, 0.7))
    term = Placement(boxes=boxes, inside=1, outside=0, extent=0, fraction=0.05, **LEVELS)
    lacking = term(statistics(maps), two_cats, registry.relations()).item()
    assert lacking == pytest.approx(1 / 3)
    assert term(statistics(maps), one_cat, registry.relations()).item() == pytest.approx(0)
    maps[0, 0, 8:12, 6:8] = 1
    assert term(statistics(maps), two_cats, registry.relations()).item() == pytest.approx(0)


def test_placement_leaves_scenes_without_relations_alone(registry: Registry) -> None:
    unrelated, boxes = scene(2), [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    assert not Placement(**LEVELS).applies(unrelated)
    # Given boxes say where, whatever the scene does.
    given = Placement(**LEVELS, boxes=boxes)
    assert given.applies(unrelated)
    values = given(statistics(grids(LEFT, RIGHT)), unrelated, registry.relations())
    assert torch.equal(values, given(statistics(grids(LEFT, RIGHT)), scene(2, (0, "left_of", 1)), registry.relations()))


def test_placement_needs_a_box_for_each_object(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="2 given for 3 objects"):
        Placement(boxes=HALVES, **LEVELS)(statistics(grids(LEFT, RIGHT, LEFT)), chain(3), registry.relations())


def test_presence_comes_before_relations(registry: Registry) -> None:
    """A relation pulls as far as its weakest object is there, and what is there is not raised."""
    term = PresenceFirst(gate=0.5, margin=0.25, **LEVELS)
    two = scene(2, (0, "left_of", 1))
    # Wrong way round, both equally strong: gates open, d = -1, so that only the relation counts.
    assert term(statistics(grids(RIGHT, LEFT)), two, registry.relations()).item() == pytest.approx(1.25)
    weak = (0.25 * torch.tensor(LEFT)).tolist()
    # The second object has a quarter of the first's peak, half of what its gate wants; peak 1/4, mass 1/8.
    expected = 0.5 * (2 - 0.25 - 0.125) / 2 + 0.5 * 1.25
    assert term(statistics(grids(RIGHT, weak)), two, registry.relations()).item() == pytest.approx(expected)


def test_a_neglected_object_alone_is_raised(registry: Registry) -> None:
    logits = torch.tensor([[[[2.0, 1.0], [2.0, 1.0]], [[0.2, 0.1], [0.2, 0.1]]]], requires_grad=True)
    loss = PresenceFirst(gate=0.5, **LEVELS)(statistics(logits / 4), scene(2), registry.relations())
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert not gradient[0, 0].any()
    assert (gradient[0, 1] < 0).any()


def test_gates_are_per_image(registry: Registry) -> None:
    maps = torch.cat([grids(RIGHT, LEFT), grids(RIGHT, (0.1 * torch.tensor(LEFT)).tolist())])
    both = PresenceFirst(**LEVELS)(statistics(maps), scene(2, (0, "left_of", 1)), registry.relations())
    alone = [
        PresenceFirst(**LEVELS)(statistics(maps[i : i + 1]), scene(2, (0, "left_of", 1)), registry.relations()).item()
        for i in range(2)
    ]
    assert both.tolist() == pytest.approx(alone)


def test_overlap_is_the_shared_part(registry: Registry) -> None:
    half = [[0.5, 0.5], [0.5, 0.5]]
    for maps, value in (((LEFT, RIGHT), 0), ((LEFT, LEFT), 1), ((LEFT, half), 0.5)):
        found = Overlap(**LEVELS)(statistics(grids(*maps)), scene(2, (0, "left_of", 1)), registry.relations())
        assert found.item() == pytest.approx(value)


def test_overlap_of_what_belongs_together_does_not_count(registry: Registry) -> None:
    together = scene(2, (0, "inside", 1))
    assert Overlap(**LEVELS)(statistics(grids(LEFT, LEFT)), together, registry.relations()).tolist() == [0]


def test_relations_that_cannot_hold_together_are_named(registry: Registry) -> None:
    prompt = "a cat behind a dog, the cat in front of the dog"
    both = scene_from_triples(prompt, [("cat", "behind", "dog"), ("cat", "in_front_of", "dog")])
    guide = SpatialGuide(registry=registry)
    assert len(guide.parse(prompt).relations) == 2  # parsing says what the prompt says
    with pytest.warns(UnguidedWarning, match="'cat in_front_of dog' .no layout was found .* together with 'cat behind dog'"):
        (kept,) = guide._reader.scenes([prompt], both)
    assert kept.relations == both.relations[:1]
    with pytest.raises(ContradictionError, match="not all of"):
        SpatialGuide(registry=registry, strict=True)._reader.scenes([prompt], None)


def test_terms_take_their_options_from_the_configuration(registry: Registry) -> None:
    config = SpatialGuide(losses={"placement": {"slack": 0.5}, "presence_first": {"gate": 0.2}, "overlap": {}}).config
    terms = {term.name: term.term for term in make_terms(config.losses, registry)}
    assert terms["placement"].slack == 0.5
    assert terms["presence_first"].gate == 0.2
