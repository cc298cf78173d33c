from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spatialguide.contracts import Detection
from spatialguide.errors import OutputError
from spatialguide.pictures.png import check_writable, enlarged, read_metadata, save_png, side_by_side, with_boxes

GREY = Image.new("RGB", (64, 48), "#808080")


def test_metadata_survives_the_png(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    metadata = {"prompt": "ein Kätzchen 🐱", "seed": 3}
    save_png(GREY, path, metadata)
    assert read_metadata(path) == metadata
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(GREY))
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("out.jpg", "must end in .png"), ("no/such/out.png", "No such file"), ("folder.png", "is a folder")],
)
def test_bad_paths_are_refused_before_writing(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=message):
        check_writable(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_an_image_that_cannot_be_saved_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    image = GREY.copy()
    monkeypatch.setattr(image, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        save_png(image, tmp_path / "out.png", {})
    assert list(tmp_path.iterdir()) == []


def test_images_have_ordinary_permissions(tmp_path: Path) -> None:
    save_png(GREY, tmp_path / "out.png", {})
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out.png", "plain")}
    assert len(modes) == 1


def test_files_without_metadata_are_named(tmp_path: Path) -> None:
    GREY.save(tmp_path / "plain.png")
    with pytest.raises(OutputError, match="carries no spatialguide metadata: give the PNG that spatialguide wrote"):
        read_metadata(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(OutputError, match="cannot read"):
        read_metadata(tmp_path / "text.png")


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    picture, factor = enlarged(GREY)
    assert factor == 6
    assert picture.size == (384, 288)
    assert enlarged(Image.new("RGB", (1024, 1024)))[1] == 1


def test_boxes_are_drawn_where_they_are() -> None:
    picture = np.asarray(with_boxes(GREY, [Detection("cat", 0.9, (10, 20, 30, 40))]))
    assert not np.array_equal(picture[20 * 6, 20 * 6], (128, 128, 128))
    assert np.array_equal(picture[30 * 6, 20 * 6], (128, 128, 128))


def test_labels_stay_inside_the_picture() -> None:
    """A label at the right edge is moved left: its background, in the box's colour, is as wide as anywhere else."""
    colour, widths = (214, 39, 40), []
    for x in (20, 60):
        picture = np.asarray(with_boxes(GREY, [Detection("a long label", 1.0, (x, 20, x + 4, 24))]))
        widths.append(int((picture == colour).all(axis=-1).any(axis=0).sum()))
    assert abs(widths[0] - widths[1]) <= 2


@pytest.mark.slow
def test_side_by_side_shortens_a_prompt_that_does_not_fit() -> None:
    panel = enlarged(GREY)[0]
    pictures = [side_by_side(prompt, [("unguided", panel), ("guided", panel)]) for prompt in ("a cat", "a cat " * 200)]
    assert pictures[0].size == pictures[1].size
    short, long = (np.asarray(picture)[:30].min(axis=(0, 2)) < 128 for picture in pictures)
    assert np.nonzero(short)[0].max() < 100
    # The long one ends before the right margin.
    assert panel.width < np.nonzero(long)[0].max() < pictures[1].width - 12
