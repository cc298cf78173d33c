from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialguide.errors import UnsupportedPipelineError
from spatialguide.guidance.statistics import ObjectStatistics, moments
from spatialguide.scenes.planned import Structure
from spatialguide.testing import planned, statistics


def test_moments_of_a_map_computed_by_hand() -> None:
    # Mass 1 at (x=0, y=0) and 3 at (x=1, y=0.5): mu = (0.75, 0.375).
    maps = torch.zeros(3, 3)
    maps[0, 0], maps[1, 2] = 1.0, 3.0
    centroid, variance = moments(maps)
    assert torch.allclose(centroid, torch.tensor([0.75, 0.375]))
    # (1 * (0.75^2 + 0.375^2) + 3 * (0.25^2 + 0.125^2)) / 4
    assert variance.item() == pytest.approx((0.703125 + 3 * 0.078125) / 4)


def test_rows_are_y_and_columns_are_x_on_grids_that_are_not_square() -> None:
    maps = torch.zeros(2, 5)
    maps[1, 0] = 1.0
    assert torch.allclose(moments(maps)[0], torch.tensor([0.0, 1.0]))


def test_an_empty_map_has_finite_moments_and_gradients() -> None:
    maps = torch.zeros(4, 4, requires_grad=True)
    centroid, variance = moments(maps)
    (gradient,) = torch.autograd.grad(centroid.sum() + variance, maps)
    assert centroid.isfinite().all()
    assert variance.isfinite()
    assert gradient.isfinite().all()


@given(height=st.integers(2, 9), width=st.integers(2, 9), seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_moments_stay_in_the_image_and_ignore_scale(height: int, width: int, seed: int, scale: float) -> None:
    maps = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) + 1e-3
    centroid, variance = moments(maps)
    assert ((centroid >= 0) & (centroid <= 1)).all()
    assert 0 <= variance <= 0.5 + 1e-6
    scaled, _ = moments(maps * scale)
    assert torch.allclose(centroid, scaled, atol=1e-4)


@given(seed=st.integers(0, 10**6))
def test_mirroring_the_map_mirrors_the_centroid(seed: int) -> None:
    maps = torch.rand(6, 7, generator=torch.Generator().manual_seed(seed))
    centroid, variance = moments(maps)
    mirrored, same = moments(maps.flip(-1))
    assert torch.allclose(mirrored, torch.stack([1 - centroid[0], centroid[1]]), atol=1e-5)
    assert torch.allclose(variance, same, atol=1e-5)


SCENE = planned("a cat, a dog, a bus", [("cat", "left_of", "dog"), ("bus", "above", "dog")])
GENERATOR = torch.Generator().manual_seed(0)
COARSE, MID = (torch.rand(2, 3, *size, generator=GENERATOR) for size in ((4, 6), (8, 12)))


def seen(map_size: int | None = None) -> ObjectStatistics:
    return statistics({"coarse": COARSE, "mid": MID}, SCENE, map_size)


def test_statistics_have_axes_images_layers_objects() -> None:
    found = seen()
    assert found.mass.shape == found.peak.shape == found.variance.shape == (2, 2, 3)
    assert found.centroid.shape == (2, 2, 3, 2)
    assert torch.equal(found.peak[:, 1], MID.amax(dim=(-2, -1)))
    assert torch.allclose(found.mass[:, 0], COARSE.mean(dim=(-2, -1)))


def test_distances_are_those_of_the_relations_between_the_centroids() -> None:
    found = seen()
    cat, dog, bus = (found.centroid[:, :, number] for number in range(3))
    assert torch.equal(found.distances, torch.stack([dog[..., 0] - cat[..., 0], dog[..., 1] - bus[..., 1]], dim=-1))
    none = statistics(COARSE[:, :0], Structure((), ()))
    assert none.distances.shape == (2, 2, 0)


def test_levels_select_layers() -> None:
    found = seen()
    mid = found.at(("mid",))
    assert mid.levels == ("mid",)
    assert torch.equal(mid.variance[:, 0], found.variance[:, 1])
    assert torch.equal(mid.distances[:, 0], found.distances[:, 1])
    assert found.at(("coarse", "mid")) is found
    message = "no observed layer is at level fine: set a term's levels to those observed, coarse, mid"
    with pytest.raises(UnsupportedPipelineError, match=message):
        found.at(("fine",))


def test_resizing_keeps_the_aspect_and_changes_only_the_grid() -> None:
    resized, native = seen(map_size=24), seen()
    assert [tuple(m.shape[-2:]) for m in resized.maps] == [(16, 24), (16, 24)]
    assert (resized.centroid - native.centroid).abs().max() < 0.05
