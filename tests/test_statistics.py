from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialguide.errors import UnsupportedPipelineError
from spatialguide.observer import LayerMaps
from spatialguide.statistics import moments, object_statistics


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


def layers() -> list[LayerMaps]:
    generator = torch.Generator().manual_seed(0)
    return [
        LayerMaps("coarse", torch.rand(2, 3, 4, 6, generator=generator)),
        LayerMaps("mid", torch.rand(2, 3, 8, 12, generator=generator)),
    ]


def test_statistics_have_axes_images_layers_objects() -> None:
    statistics = object_statistics(layers())
    assert statistics.mass.shape == statistics.peak.shape == statistics.variance.shape == (2, 2, 3)
    assert statistics.centroid.shape == (2, 2, 3, 2)
    assert torch.equal(statistics.peak[:, 1], layers()[1].maps.amax(dim=(-2, -1)))
    assert torch.allclose(statistics.mass[:, 0], layers()[0].maps.mean(dim=(-2, -1)))


def test_levels_select_layers() -> None:
    statistics = object_statistics(layers())
    mid = statistics.at(("mid",))
    assert mid.levels == ("mid",)
    assert torch.equal(mid.variance[:, 0], statistics.variance[:, 1])
    assert statistics.at(("coarse", "mid")) is statistics
    message = "no observed layer is at level fine: set a term's levels to those observed, coarse, mid"
    with pytest.raises(UnsupportedPipelineError, match=message):
        statistics.at(("fine",))


def test_resizing_keeps_the_aspect_and_changes_only_the_grid() -> None:
    statistics = object_statistics(layers(), map_size=24)
    assert [tuple(m.shape[-2:]) for m in statistics.maps] == [(16, 24), (16, 24)]
    native = object_statistics(layers())
    assert (statistics.centroid - native.centroid).abs().max() < 0.05
