from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spatialguide.contracts import Detection
from spatialguide.errors import OutputError
from spatialguide.images import check_writable, enlarged, read_metadata, save_png, side_by_side, with_boxes

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
    with pytest.raises(OutputError, match="carries no spatialguide metadata"):
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
    edge = [Detection("a very long label", 1.0, (60, 0, 64, 4)), Detection("b", 1.0, (0, 44, 64, 48))]
    assert with_boxes(GREY, edge).size == (384, 288)


def test_side_by_side_shortens_a_prompt_that_does_not_fit() -> None:
    panel = enlarged(GREY)[0]
    picture = side_by_side("a cat " * 200, [("unguided", panel), ("guided", panel)])
    assert picture.width == 2 * panel.width + 3 * 12
    assert picture.height > panel.height
