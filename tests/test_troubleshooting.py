"""Each bad input of docs/troubleshooting.md gets the answer that stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

import spatialguide
from spatialguide import SpatialGuide, load_scene, scene_from_triples
from spatialguide.config import load_config
from spatialguide.errors import SpatialGuideError
from spatialguide.pictures.png import check_writable, read_metadata

TEXT = (Path(__file__).parent.parent / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.+?)` \| (\w+): (.+) \|$", TEXT, flags=re.MULTILINE)
NAMES = {
    "SpatialGuide": SpatialGuide,
    "load_config": load_config,
    "load_scene": load_scene,
    "scene_from_triples": scene_from_triples,
    "check_writable": check_writable,
    "read_metadata": read_metadata,
    "Path": Path,
}


def test_the_table_is_long_enough_and_every_error_is_public() -> None:
    assert len(ROWS) >= 25
    assert all(issubclass(getattr(spatialguide.errors, error), SpatialGuideError) for _, error, _ in ROWS)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("asked", "error", "message"), ROWS, ids=[asked for asked, *_ in ROWS])
def test_bad_input_is_answered_as_documented(
    asked: str, error: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("typo.yaml").write_text("guidance:\n  strenght: 3\n")
    Image.new("RGB", (8, 8)).save("plain.png")
    with pytest.raises(getattr(spatialguide.errors, error)) as caught:
        eval(asked, dict(NAMES))  # the document's own words
    assert str(caught.value) == message
