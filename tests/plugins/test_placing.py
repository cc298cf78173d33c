"""Placement, presence first, overlap: values on maps computed by hand, gradients, gates per object and image."""

from __future__ import annotations

import pytest
import torch
from test_peers import EMPTY, HALVES, LEFT, RIGHT, chain, grids, probabilities, scene, score

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError, ContradictionError, UnguidedWarning
from spatialguide.guidance.losses import make_terms
from spatialguide.registry import Registry
from spatialguide.scenes.records import scene_from_triples
from spatialguide.terms.boxes import parts
from spatialguide_plugins.losses.overlap import Overlap
from spatialguide_plugins.losses.placement import Placement
from spatialguide_plugins.losses.presence_first import PresenceFirst

NAMES = ("placement", "presence_first", "overlap")
LEVELS = {"levels": ("coarse",)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("objects", [1, 2, 4])
def test_gradients_are_finite_and_images_do_not_mix(registry: Registry, name: str, objects: int) -> None:
    term = registry.get("losses", name)(**LEVELS)
    logits = torch.randn(3, objects, 6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = score(term, chain(objects), probabilities(logits))
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
    loss = score(term, scene(2, (0, "left_of", 1)), grids(EMPTY, EMPTY))
    assert loss.isfinite().all()


def test_placement_is_zero_for_maps_that_equal_their_masks() -> None:
    term = Placement(boxes=HALVES, fraction=1.0, **LEVELS)
    two = scene(2, (0, "left_of", 1))
    assert score(term, two, grids(LEFT, RIGHT)).item() == pytest.approx(0)
    # All wrong: inside 1, outside 1, extent: both columns off by one, no row is.
    assert score(term, two, grids(RIGHT, LEFT)).item() == pytest.approx(1 + 1 + 1)
    alone = {"inside": 0, "outside": 0, "extent": 0}
    for part, value in (("inside", 1.0), ("outside", 1.0), ("extent", 1.0)):
        weighed = Placement(boxes=HALVES, fraction=1.0, **LEVELS, **{**alone, part: 2.0})
        assert score(weighed, two, grids(RIGHT, LEFT)).item() == pytest.approx(2 * value)


def test_placement_follows_the_image_where_the_relation_leaves_it_open() -> None:
    """Cats at the top left and dogs at the bottom right lie in boxes of their own heights."""
    maps = torch.zeros(1, 2, 10, 10)
    maps[0, 0, 1:4, 1:4] = 1
    maps[0, 1, 6:9, 6:9] = 1
    term = Placement(outside=1, inside=0, extent=0, **LEVELS)
    two = scene(2, (0, "left_of", 1))
    assert score(term, two, maps).item() == pytest.approx(0)
    assert score(term, two, maps.flip(1)).item() > 0.5
    assert score(Placement(outside=1, inside=0, extent=0, slack=0, **LEVELS), two, maps).item() == pytest.approx(0)


def test_placement_wants_as_many_spots_as_the_object_is_asked_for(registry: Registry) -> None:
    guide = SpatialGuide(registry=registry)
    two_cats, one_cat = guide.plan("two cats to the left of a dog"), guide.plan("a cat to the left of a dog")
    assert two_cats.counts[0] == 2
    maps = torch.zeros(1, 2, 20, 20)
    maps[0, 0, 8:12, 2:4] = 1  # one spot in the left part of the cats' box
    maps[0, 1, 8:12, 14:16] = 1
    boxes = ((0.05, 0.3, 0.45, 0.7), (0.55, 0.3, 0.95, 0.7))
    term = Placement(boxes=boxes, inside=1, outside=0, extent=0, fraction=0.05, **LEVELS)
    lacking = score(term, two_cats, maps).item()
    assert lacking == pytest.approx(1 / 3)
    assert score(term, one_cat, maps).item() == pytest.approx(0)
    maps[0, 0, 8:12, 6:8] = 1
    assert score(term, two_cats, maps).item() == pytest.approx(0)


def test_an_object_asked_for_twice_gets_two_halves() -> None:
    owners, shifts, shares = parts((1, 2))
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.2, 1.0, 0.8]])[list(owners)]
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    middle, half = middle + half * torch.tensor(shifts), half * torch.tensor(shares)
    split = torch.cat([middle - half, middle + half], dim=1)
    assert owners == (0, 1, 1)
    assert torch.allclose(split, torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.2, 0.75, 0.8], [0.75, 0.2, 1.0, 0.8]]))


def test_placement_leaves_scenes_without_relations_alone() -> None:
    unrelated, boxes = scene(2), [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    assert not Placement(**LEVELS).applies(unrelated)
    # Given boxes say where, whatever the scene does.
    given = Placement(**LEVELS, boxes=boxes)
    assert given.applies(unrelated)
    values = score(given, unrelated, grids(LEFT, RIGHT))
    assert torch.equal(values, score(given, scene(2, (0, "left_of", 1)), grids(LEFT, RIGHT)))


def test_placement_needs_a_box_for_each_object() -> None:
    with pytest.raises(ConfigError, match="2 given for a scene of 3 objects"):
        score(Placement(boxes=HALVES, **LEVELS), chain(3), grids(LEFT, RIGHT, LEFT))


def test_presence_comes_before_relations() -> None:
    """A relation pulls as far as its weakest object is there, and what is there is not raised."""
    term = PresenceFirst(gate=0.5, margin=0.25, **LEVELS)
    two = scene(2, (0, "left_of", 1))
    # Wrong way round, both equally strong: gates open, d = -1, so that only the relation counts.
    assert score(term, two, grids(RIGHT, LEFT)).item() == pytest.approx(1.25)
    weak = (0.25 * torch.tensor(LEFT)).tolist()
    # The second object has a quarter of the first's peak, half of what its gate wants; peak 1/4, mass 1/8.
    expected = 0.5 * (2 - 0.25 - 0.125) / 2 + 0.5 * 1.25
    assert score(term, two, grids(RIGHT, weak)).item() == pytest.approx(expected)


def test_a_neglected_object_alone_is_raised() -> None:
    logits = torch.tensor([[[[2.0, 1.0], [2.0, 1.0]], [[0.2, 0.1], [0.2, 0.1]]]], requires_grad=True)
    loss = score(PresenceFirst(gate=0.5, **LEVELS), scene(2), logits / 4)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert not gradient[0, 0].any()
    assert (gradient[0, 1] < 0).any()


def test_gates_are_per_image() -> None:
    maps = torch.cat([grids(RIGHT, LEFT), grids(RIGHT, (0.1 * torch.tensor(LEFT)).tolist())])
    both = score(PresenceFirst(**LEVELS), scene(2, (0, "left_of", 1)), maps)
    alone = [score(PresenceFirst(**LEVELS), scene(2, (0, "left_of", 1)), maps[i : i + 1]).item() for i in range(2)]
    assert both.tolist() == pytest.approx(alone)


def test_overlap_is_the_shared_part() -> None:
    half = [[0.5, 0.5], [0.5, 0.5]]
    for maps, value in (((LEFT, RIGHT), 0), ((LEFT, LEFT), 1), ((LEFT, half), 0.5)):
        found = score(Overlap(**LEVELS), scene(2, (0, "left_of", 1)), grids(*maps))
        assert found.item() == pytest.approx(value)


def test_overlap_of_what_belongs_together_does_not_count() -> None:
    together = scene(2, (0, "inside", 1))
    assert score(Overlap(**LEVELS), together, grids(LEFT, LEFT)).tolist() == [0]


def test_relations_that_cannot_hold_together_are_named(registry: Registry) -> None:
    prompt = "a cat behind a dog, the cat in front of the dog"
    both = scene_from_triples(prompt, [("cat", "behind", "dog"), ("cat", "in_front_of", "dog")])
    guide = SpatialGuide(registry=registry)
    assert len(guide.parse(prompt).relations) == 2  # parsing says what the prompt says
    with pytest.warns(UnguidedWarning, match="'cat in_front_of dog' .no layout was found .* together with 'cat behind dog'"):
        (kept,) = guide._reader.scenes([prompt], both)
    assert kept.scene.relations == both.relations[:1]
    assert [relation.name for relation in kept.relations] == ["behind"]
    with pytest.raises(ContradictionError, match="not all of"):
        SpatialGuide(registry=registry, strict=True)._reader.scenes([prompt], None)


def test_terms_take_their_options_from_the_configuration(registry: Registry) -> None:
    config = SpatialGuide(losses={"placement": {"slack": 0.5}, "presence_first": {"gate": 0.2}, "overlap": {}}).config
    terms = {term.name: term.term for term in make_terms(config.losses, registry)}
    assert terms["placement"].slack == 0.5
    assert terms["presence_first"].gate == 0.2
