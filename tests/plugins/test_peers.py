"""The losses of the training-free peers: values on maps computed by hand, gradients, options, and a run of each."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from spatialguide import SpatialGuide
from spatialguide.contracts import LossTerm
from spatialguide.errors import ConfigError
from spatialguide.guidance.statistics import moments
from spatialguide.registry import Registry, default_registry
from spatialguide.scenes.planned import PlannedScene, Structure, plan
from spatialguide.scenes.records import scene_from_triples
from spatialguide.scenes.scene import Relation, Scene, SceneObject, Span
from spatialguide.terms.boxes import BoxTerm
from spatialguide.terms.maps import box_masks, directions, distributions, smoothed, stretched
from spatialguide.testing import statistics
from spatialguide_plugins.losses.attend_and_excite import AttendAndExcite
from spatialguide_plugins.losses.boxdiff import BoxDiff
from spatialguide_plugins.losses.conform import Conform
from spatialguide_plugins.losses.divide_and_bind import DivideAndBind
from spatialguide_plugins.losses.layout_guidance import LayoutGuidance
from spatialguide_plugins.losses.self_guidance import SelfGuidance
from spatialguide_plugins.losses.storm import Storm, transport

TERMS: dict[str, type[LossTerm]] = {
    "attend_and_excite": AttendAndExcite,
    "divide_and_bind": DivideAndBind,
    "conform": Conform,
    "layout_guidance": LayoutGuidance,
    "boxdiff": BoxDiff,
    "storm": Storm,
    "self_guidance": SelfGuidance,
}
BOXED = [name for name, term in TERMS.items() if issubclass(term, BoxTerm)]
NAMES = ("cat", "dog", "bus", "cow")
HALVES = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))


def scene(objects: int, *edges: tuple[int, str, int]) -> PlannedScene:
    spans = [Span(4 * i, 4 * i + 3) for i in range(objects)]
    stated = Scene(
        prompt=" ".join(NAMES),
        objects=tuple(SceneObject(text=n, head=n, span=s, phrase=s) for n, s in zip(NAMES, spans, strict=False)),
        relations=tuple(Relation(subject=a, predicate=p, objects=(b,)) for a, p, b in edges),
    )
    return plan(stated, default_registry().relations())


def chain(objects: int) -> PlannedScene:
    """Every object left of the next."""
    return scene(objects, *((i, "left_of", i + 1) for i in range(objects - 1)))


def score(term: LossTerm, scene: Structure, *maps: torch.Tensor) -> torch.Tensor:
    """Of so many coarse layers."""
    return term(statistics({"coarse": maps}, scene), scene)


def grids(*rows: list[list[float]]) -> torch.Tensor:
    """One image's maps, an object each."""
    return torch.tensor(rows)[None]


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Maps as attention makes them, but over space: positive, in no other way special."""
    return logits.flatten(2).softmax(dim=-1).view_as(logits)


LEFT = [[1.0, 0.0], [1.0, 0.0]]
RIGHT = [[0.0, 1.0], [0.0, 1.0]]
EMPTY = [[0.0, 0.0], [0.0, 0.0]]


# --- helpers ---------------------------------------------------------------------------------------------------------


def test_masks_hold_the_cells_whose_centre_is_in_the_box() -> None:
    masks = box_masks([(0.0, 0.0, 0.5, 1.0), (0.3, 0.5, 1.0, 1.0), (0.6, 0.1, 0.65, 0.15)], torch.zeros(1, 3, 2, 4))
    assert masks.tolist() == [
        [[1, 1, 0, 0], [1, 1, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 1, 1]],  # centres at 0.125, 0.375, 0.625, 0.875
        [[0, 0, 1, 0], [0, 0, 0, 0]],  # no centre inside: the nearest cell
    ]


def test_smoothing_keeps_a_flat_map_and_spreads_a_spot() -> None:
    flat = torch.full((1, 2, 3, 5), 0.3)
    assert torch.allclose(smoothed(flat, 0.5, 3), flat)
    spot = torch.zeros(1, 1, 3, 3)
    spot[..., 1, 1] = 1.0
    beside = math.exp(-2) / (1 + 2 * math.exp(-2))
    middle = 1 / (1 + 2 * math.exp(-2))
    found = smoothed(spot, 0.5, 3)[0, 0]
    assert found[1].tolist() == pytest.approx([middle * beside, middle**2, middle * beside])
    assert found[0, 0].item() == pytest.approx(beside**2)
    assert smoothed(spot, 0.0, 3) is spot


def test_normalisations() -> None:
    maps = grids([[1.0, 3.0]], [[0.0, 0.0]], [[2.0, 2.0]])
    assert distributions(maps)[0, :, 0].tolist() == [[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]]
    assert stretched(maps)[0, :, 0].tolist() == [[0, 1], [0, 0], [0, 0]]
    fine = torch.tensor([[[[3.0, 3.0, 4.0, 4.0]]]])
    assert directions([fine, torch.tensor([[[[0.0, 2.0]]]])])[0, :, 0].tolist() == [
        pytest.approx([0.6, 0.8]),
        pytest.approx([0.0, 1.0]),
    ]


# --- values by hand --------------------------------------------------------------------------------------------------


def test_attend_and_excite_is_the_weakest_peak() -> None:
    maps = grids([[0.2, 0.7], [0.1, 0.1]], [[0.4, 0.3], [0.1, 0.1]])
    value = score(AttendAndExcite(sigma=0), scene(2), maps)
    assert value.tolist() == pytest.approx([1 - 0.4])
    both = score(AttendAndExcite(sigma=0), scene(2), maps, maps / 2)
    assert both.tolist() == pytest.approx([(0.6 + 0.8) / 2])


def test_attend_and_excite_smooths_with_a_gaussian() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[..., 2, 2] = 1.0
    value = score(AttendAndExcite(), scene(1), maps)
    assert value.tolist() == pytest.approx([1 - (1 / (1 + 2 * math.exp(-2))) ** 2])


def test_divide_and_bind_is_minus_the_least_total_variation() -> None:
    maps = grids([[1.0, 0.0, 0.5]], [[0.2, 0.2, 0.4]])
    value = score(DivideAndBind(), scene(2), maps)
    assert value.tolist() == pytest.approx([-0.2])
    square = grids([[1.0, 0.0], [0.0, 0.0]])
    assert score(DivideAndBind(), scene(1), square).tolist() == pytest.approx([-2.0])


def test_conform_is_infonce_over_cosine_similarities() -> None:
    apart, together = grids(LEFT, RIGHT), grids(LEFT, LEFT)
    # One layer: positive similarity 1, one negative of similarity 0 or 1, over the temperature 0.5.
    one = Conform()
    assert score(one, scene(2), apart).tolist() == pytest.approx([math.log(1 + math.exp(-2))])
    assert score(one, scene(2), together).tolist() == pytest.approx([math.log(2)])
    # Two layers that agree: one positive and two negatives of similarity 0 for every map.
    two = score(one, scene(2), apart, apart)
    assert two.tolist() == pytest.approx([math.log(1 + 2 * math.exp(-2))])
    # Two layers that disagree: positives of similarity 0; negatives of similarity 0 and 1.
    swapped = score(one, scene(2), apart, grids(RIGHT, LEFT))
    assert swapped.tolist() == pytest.approx([math.log(2 + math.exp(2))])


def test_conform_of_a_single_object_is_zero() -> None:
    maps = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for layers in ((maps,), (maps, maps.flip(-1))):
        assert score(Conform(), scene(1), *layers).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_layout_guidance_is_the_squared_share_outside() -> None:
    term = LayoutGuidance(boxes=HALVES)
    assert score(term, scene(2), grids(LEFT, RIGHT)).tolist() == [0]
    assert score(term, scene(2), grids(RIGHT, LEFT)).tolist() == [1]
    maps = grids([[0.3, 0.1], [0.0, 0.0]], RIGHT)  # a quarter of the first is outside
    assert score(term, scene(2), maps).tolist() == pytest.approx([0.25**2 / 2])


def test_layout_guidance_derives_its_boxes_from_the_scene() -> None:
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 4, 2] = maps[0, 1, 4, 6] = 1.0
    term = LayoutGuidance()
    assert score(term, scene(2, (0, "left_of", 1)), maps).tolist() == [0]
    assert score(term, scene(2, (0, "right_of", 1)), maps).tolist() == [1]


def test_boxdiff_of_maps_that_equal_their_masks_is_zero() -> None:
    assert score(BoxDiff(boxes=HALVES), scene(2), grids(LEFT, RIGHT)).tolist() == [0]
    whole = BoxDiff(boxes=((0, 0, 1, 1),))
    assert score(whole, scene(1), torch.ones(1, 1, 3, 4)).tolist() == [0]


def test_boxdiff_adds_inner_outer_and_corner() -> None:
    # Box: the two left cells of a row of four; half of each side's two cells is one cell.
    maps = grids([[0.6, 0.2, 0.5, 0.1]])
    options = {"boxes": ((0, 0, 0.5, 1),), "fraction": 0.5}
    parts = {
        "inner": 1 - 0.6,
        "outer": 0.5,
        # Columns 0 to 2 are within one cell of the box's ends; its only row is both ends of it.
        "corner": (0.4 + 0.8 + 0.5) / 3 + (1 - 0.6),
    }
    for name, expected in parts.items():
        alone = BoxDiff(**options, **(dict.fromkeys(parts, 0.0) | {name: 1.0}))
        assert score(alone, scene(1), maps).tolist() == pytest.approx([expected])
    every = score(BoxDiff(**options), scene(1), maps)
    assert every.tolist() == pytest.approx([sum(parts.values())])


def test_self_guidance_is_centroid_and_size() -> None:
    spot = torch.zeros(1, 1, 5, 5)
    spot[..., 2, 3] = 1.0  # the cell's middle is at (0.7, 0.5); soft size 1 / 25
    value = score(SelfGuidance(boxes=((0.0, 0.0, 0.5, 1.0),), size=0), scene(1), spot)
    assert value.tolist() == pytest.approx([0.45])  # centre of the box: (0.25, 0.5)
    value = score(SelfGuidance(boxes=((0.0, 0.0, 0.5, 1.0),), centroid=0), scene(1), spot)
    assert value.tolist() == pytest.approx([0.5 - 1 / 25], abs=1e-6)
    block = torch.zeros(1, 1, 4, 4)
    block[..., 1:3, 1:3] = 0.2
    fits = score(SelfGuidance(boxes=((0.25, 0.25, 0.75, 0.75),)), scene(1), block)
    assert fits.tolist() == pytest.approx([0], abs=1e-6)


def test_storm_sends_objects_without_an_errand_to_the_middle_of_their_box() -> None:
    """Counted from edge to edge: the second of four columns is the middle of (0.25, 0.5)."""
    term = Storm(boxes=((0.25, 0.0, 0.5, 1.0),), position=0, overlap=0, spread=0.05)
    values = []
    for column in range(4):
        maps = torch.zeros(1, 1, 3, 4)
        maps[..., 1, column] = 1.0
        values.append(score(term, scene(1), maps).item())
    assert values[1] == pytest.approx(0, abs=1e-3)
    assert values[0] == pytest.approx(values[2], rel=1e-3)
    assert values[3] > values[2] > values[1]


def test_transport_between_spots_is_their_squared_distance() -> None:
    spots = torch.zeros(3, 4, 6)
    spots[0, 0, 0] = spots[1, 3, 5] = spots[2, 0, 5] = 1.0
    for epsilon in (0.03, 0.05, 1.0):
        found = transport(spots[:1], spots, epsilon, 20)
        assert found.tolist() == pytest.approx([0, 2, 1], abs=1e-5)


def test_transport_agrees_with_the_plan_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    source, target = distributions(torch.rand(1, 2, 3, 4, generator=generator)).double()[0]
    y, x = torch.meshgrid(torch.linspace(0, 1, 3).double(), torch.linspace(0, 1, 4).double(), indexing="ij")
    points = torch.stack([x, y], dim=-1).view(-1, 2)
    cost = torch.cdist(points, points).square()
    a, b = source.flatten(), target.flatten()
    plan = a[:, None] * b * (-cost / 0.1).exp()
    for _ in range(2000):
        plan = plan * (a / plan.sum(dim=1))[:, None]
        plan = plan * (b / plan.sum(dim=0))
    expected = (plan * cost).sum() + 0.1 * (plan * (plan / (a[:, None] * b)).log()).sum()
    assert transport(source, target, 0.1, 200).item() == pytest.approx(expected.item(), rel=1e-6)


def test_storm_of_spots() -> None:
    # Centroids (0, 0.5) and (1, 0.5): both targets are half-way from an edge to the other, at x = 0.5.
    maps = torch.zeros(1, 2, 5, 5)
    maps[0, 0, 2, 0] = maps[0, 1, 2, 4] = 1.0
    value = score(Storm(spread=0.01), scene(2, (0, "left_of", 1)), maps)
    assert value.tolist() == pytest.approx([0.5**2], abs=1e-5)
    # The wrong way round: targets at the other's edge, a full side away, and both a full side on the wrong side.
    value = score(Storm(spread=0.01, overlap=0), scene(2, (0, "right_of", 1)), maps)
    assert value.tolist() == pytest.approx([1.0 + 1.0], abs=1e-5)
    # In one place: targets a quarter away, no side is wrong, and all of either is under the other.
    maps = torch.zeros(1, 2, 5, 5)
    maps[0, :, 2, 2] = 1.0
    value = score(Storm(spread=0.01), scene(2, (0, "above", 1)), maps)
    assert value.tolist() == pytest.approx([0.25**2 + 1.0], abs=1e-5)


def test_storm_carries_objects_without_a_direction_to_their_boxes() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 2, 0] = 1.0
    assert score(Storm(spread=0.01), scene(1), maps).tolist() == pytest.approx([0.25], abs=1e-5)
    given = Storm(spread=0.01, boxes=((0.5, 0.0, 1.0, 1.0),))
    assert score(given, scene(1), maps).tolist() == pytest.approx([0.75**2], abs=1e-5)


# --- gradients and shapes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objects", [1, 2, 4])
@pytest.mark.parametrize("name", TERMS)
def test_terms_are_per_image_and_a_small_step_lowers_them(name: str, objects: int) -> None:
    term = TERMS[name]()
    generator = torch.Generator().manual_seed(3)
    logits = [torch.randn(3, objects, *size, generator=generator).requires_grad_() for size in ((6, 9), (6, 9), (5, 4))]

    def scored(given: list[torch.Tensor]) -> torch.Tensor:
        return score(term, chain(objects), *(probabilities(layer) for layer in given))

    before = scored(logits)
    assert before.shape == (3,)
    assert before.isfinite().all()
    gradients = torch.autograd.grad(before[1], logits)
    assert not any(gradient[[0, 2]].any() for gradient in gradients)
    if name == "conform" and objects == 1:
        return  # a single object has nothing to be told apart from
    steps = torch.autograd.grad(scored(logits).sum(), logits)
    after = scored([layer - 1e-2 * step / step.norm() for layer, step in zip(logits, steps, strict=True)])
    assert (after <= before.detach()).all()
    assert after.sum() < before.sum()


@pytest.mark.parametrize("name", ["layout_guidance", "boxdiff", "self_guidance", "storm"])
def test_descending_moves_the_objects_to_their_sides(name: str) -> None:
    term = TERMS[name]()
    logits = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(60):
        loss = score(term, scene(2, (0, "left_of", 1)), probabilities(logits)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    centroid, _ = moments(probabilities(logits.detach())[0])
    assert centroid[1, 0] - centroid[0, 0] > 0.25
    assert abs(centroid[1, 1] - centroid[0, 1]) < 0.25


def test_descending_conform_parts_maps_that_lie_together() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (0.1 * torch.randn(1, 2, 6, 6, generator=generator)).requires_grad_()

    def similarity() -> float:
        one, other = directions([probabilities(logits.detach())])[0, 0]
        return float(one @ other)

    before = similarity()
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(40):
        loss = score(Conform(), scene(2), probabilities(logits)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before > 0.9
    assert similarity() < 0.2


@pytest.mark.parametrize("value", [0.0, 0.01])
@pytest.mark.parametrize("name", TERMS)
def test_flat_and_empty_maps_have_finite_gradients(name: str, value: float) -> None:
    for size in ((4, 6), (1, 1)):
        maps = [torch.full((2, 2, *size), value, requires_grad=True) for _ in range(2)]
        loss = score(TERMS[name](), scene(2, (0, "left_of", 1)), *maps)
        assert loss.isfinite().all()
        for gradient in torch.autograd.grad(loss.sum(), maps, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {"weights": 1.0}) for name in TERMS),
        *(
            (name, {"boxes": boxes})
            for name in BOXED
            for boxes in ([[0, 0, 0, 1]], [[0.5, 0, 0.2, 1]], [[0, 0, 1.2, 1]], [[0, 1]])
        ),
        ("attend_and_excite", {"kernel_size": 2}),
        ("attend_and_excite", {"sigma": -1.0}),
        ("attend_and_excite", {"boxes": HALVES}),
        ("conform", {"temperature": 0.0}),
        ("boxdiff", {"fraction": 0.0}),
        ("boxdiff", {"fraction": 1.5}),
        ("boxdiff", {"reach": -1}),
        ("boxdiff", {"inner": -1.0}),
        ("self_guidance", {"sharpness": 0.0}),
        ("storm", {"epsilon": 0.0}),
        ("storm", {"iterations": 0}),
        ("storm", {"spread": float("nan")}),
    ],
)
def test_wrong_options_are_rejected(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TERMS[name](**options)


@pytest.mark.parametrize("name", BOXED)
def test_a_wrong_number_of_boxes_is_a_named_error(name: str) -> None:
    term = TERMS[name](boxes=HALVES)
    with pytest.raises(ConfigError, match="boxes: 2 given for a scene of 3 objects"):
        score(term, chain(3), torch.rand(1, 3, 4, 4))


def test_all_are_registered_and_a_plan_needs_none_of_them(registry: Registry) -> None:
    """Loss modules import torch; relations, which parsing and planning need, do not."""
    assert {name: registry.get("losses", name) for name in TERMS} == TERMS
    code = """
import sys
from spatialguide import scene_from_triples
from spatialguide.registry import default_registry
from spatialguide.scenes.planned import plan
planned = plan(scene_from_triples("a cat, a dog", [("cat", "left_of", "dog")]), default_registry().relations())
sys.exit(not planned.boxes or "torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- end to end ------------------------------------------------------------------------------------------------------

PROMPT = "a cat to the left of a dog"


def draw(pipeline) -> torch.Tensor:
    return pipeline(PROMPT, num_inference_steps=3, output_type="latent", generator=torch.Generator().manual_seed(0)).images


@pytest.mark.slow
@pytest.mark.parametrize("name", TERMS)
def test_each_term_alone_guides_the_bundled_pipeline(registry: Registry, tiny_pipeline, name: str) -> None:
    plain = draw(tiny_pipeline)
    guide = SpatialGuide(registry=registry, losses={name: {}}, guidance={"window": (0, 1), "settle": False, "patience": None})
    found = scene_from_triples(PROMPT, [("cat", "left_of", "dog")])
    with guide.attach(tiny_pipeline, PROMPT, scene=found) as trace:
        guided = draw(tiny_pipeline)
    assert guided.isfinite().all()
    assert not torch.equal(plain, guided)
    assert torch.equal(plain, draw(tiny_pipeline))
    seen = [step.images[0] for step in trace.steps]
    assert len(seen) == 3
    assert trace.skipped == 0
    assert all(math.isfinite(image.terms[name]) and image.gradient_norm > 0 for image in seen)
