"""Pictures of what guidance saw, on maps made by hand and on a watched generation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spatialguide import Result, SpatialGuide
from spatialguide.errors import PictureError
from spatialguide.guidance.trace import ImageStep, Step, Trace
from spatialguide.pictures.attention import attention_frames, attention_sheet, overlay, save_gif, trace_figure

PROMPT = "a cat to the left of a dog"


@pytest.fixture(scope="module")
def watched() -> Result:
    return SpatialGuide(steps=4)(PROMPT, seed=1, images_per_prompt=2, watch=True)


def test_a_map_colours_the_image_where_it_is_high() -> None:
    grey = Image.new("RGB", (40, 20), (128, 128, 128))
    shown = np.asarray(overlay(grey, [[[1.0, 0.0]]], ["#ff0000"])).astype(int)
    left, right = shown[:, :8].mean(axis=(0, 1)), shown[:, -8:].mean(axis=(0, 1))
    assert left[0] - left[1] > 100
    assert abs(right[0] - right[1]) < 3


def test_an_empty_map_colours_nothing() -> None:
    grey = Image.new("RGB", (16, 16), (128, 128, 128))
    shown = np.asarray(overlay(grey, [[[0.0, 0.0], [0.0, 0.0]]]))
    assert (shown == shown[0, 0]).all()


def test_every_step_is_looked_at_and_only_some_are_guided(watched: Result) -> None:
    seen = watched.trace.seen(1)
    assert [index for index, _ in seen] == [0, 1, 2, 3]
    assert [step.correction_norm > 0 for _, step in seen] == [True, True, False, False]
    maps = np.array(seen[0][1].maps)
    assert maps.shape == (2, 8, 8)
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.slow
def test_what_is_watched_is_drawn_as_it_is_unwatched(watched: Result) -> None:
    guide = SpatialGuide(steps=4)
    plain = guide(PROMPT, seed=1, images_per_prompt=2)
    assert [image.tobytes() for image in watched.images] == [image.tobytes() for image in plain.images]
    unguided = [guide(PROMPT, seed=1, guided=False, watch=watch) for watch in (False, True)]
    assert unguided[0].images[0].tobytes() == unguided[1].images[0].tobytes()
    assert all(step.correction_norm == 0 for _, step in unguided[1].trace.seen(0))
    assert [result.metadata[0]["guided"] for result in (watched, *unguided)] == [True, False, False]


def test_the_sheet_has_a_row_for_each_object_and_the_frames_one_for_each_step(watched: Result, tmp_path: Path) -> None:
    scene = watched.scene
    sheets = [attention_sheet(watched.images[1], watched.trace, scene, 1, columns=columns) for columns in (5, 3)]
    # Four steps and the image: one band of five, or two of three.
    assert sheets[0].width > 5 * 160 > sheets[1].width > 3 * 160
    assert 2 * sheets[0].height == sheets[1].height > 4 * 160
    some = attention_sheet(watched.images[1], watched.trace, scene, 1, steps=2)
    assert some.size == (sheets[1].width, sheets[0].height)
    frames = attention_frames(watched.images[1], watched.trace, scene, 1)
    assert len(frames) == 4
    save_gif(frames, tmp_path / "maps.gif")
    with Image.open(tmp_path / "maps.gif") as picture:
        assert picture.n_frames == 4


def test_maps_survive_json_and_the_choice_among_candidates() -> None:
    result = SpatialGuide(steps=3, guidance={"best_of": 2})(PROMPT, seed=3, watch=True)
    assert len(result.attention_frames()) == 3
    assert len(result.trace.as_dict()["steps"][0]["images"][0]["maps"]) == 2


def test_results_show_themselves_in_notebooks(watched: Result, tmp_path: Path) -> None:
    (tmp_path / "row.png").write_bytes(watched._repr_png_())
    with Image.open(tmp_path / "row.png") as picture:
        assert picture.size == (2 * 384 + 6, 384)
    pytest.importorskip("matplotlib")
    figure = watched.figure(1)
    assert [axes.get_title() for axes in figure.axes][:1] == ["Loss terms"]
    (tmp_path / "curves.png").write_bytes(figure._repr_png_())
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 400


@pytest.mark.parametrize("first", [{}, {"alignment": 0.5}], ids=["first without", "last without"])
def test_curves_of_a_bias_whose_steps_have_no_terms(first: dict[str, float]) -> None:
    """A step that only steered has no terms; the curves show where there are some, and how strong the bias was."""
    last = {"alignment": 0.5} if not first else {}
    rows = [
        ImageStep(terms, 0.0, ((0.2, 0.5), (0.8, 0.5)), 0.0, 0.0, False, bias=share)
        for terms, share in ((first, 1.0), (last, 0.4))
    ]
    trace = Trace([Step(index, 1.0, (seen,)) for index, seen in enumerate(rows)], "bias")
    losses, strength, _ = trace_figure(trace).axes
    (curve,) = losses.lines
    assert (curve.get_label(), len(curve.get_xdata())) == ("alignment", 1)
    assert "Bias" in strength.get_title()
    assert [bar.get_height() for bar in strength.patches] == [1.0, 0.4]


def test_curves_of_both_methods_show_correction_and_bias() -> None:
    rows = [ImageStep({"alignment": 0.5}, 0.5, ((0.2, 0.5),), 1.0, norm, False, bias=1.0) for norm in (2.0, 0.0)]
    figure = trace_figure(Trace([Step(index, 1.0, (seen,)) for index, seen in enumerate(rows)], "both"))
    assert [bar.get_height() for bar in figure.axes[1].patches] == [2.0, 0.0]
    assert list(figure.axes[-1].lines[0].get_ydata()) == [1.0, 1.0]


def test_pictures_that_cannot_be_made_say_why() -> None:
    blind = Trace([Step(0, 999.0, (ImageStep({}, 0.0, ((0.5, 0.5),), 0.0, 0.0, False),))])
    scene = SpatialGuide().parse(PROMPT)
    with pytest.raises(PictureError, match="watch=True"):
        attention_sheet(Image.new("RGB", (8, 8)), blind, scene)
    with pytest.raises(PictureError, match="neither guided nor watched"):
        trace_figure(Trace())
