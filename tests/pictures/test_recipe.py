"""Forged pictures: what a stranger's PNG can make `replay` do."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spatialguide.commands.generate import replay
from spatialguide.config import make_config
from spatialguide.errors import OutputError, SpatialGuideError, UntrustedError
from spatialguide.guide import SpatialGuide
from spatialguide.pictures.png import METADATA_KEY, read_metadata, read_pixels
from spatialguide.pictures.recipe import Recipe, read_recipe
from spatialguide.scenes.records import scene_from_triples

PROMPT = "a cat to the left of a dog"


def honest(**changes: Any) -> dict[str, Any]:
    scene = scene_from_triples(PROMPT, [("cat", "left_of", "dog")])
    config = make_config().model_dump(mode="json")
    return {
        "spatialguide": "0.1.0",
        "versions": {},
        "prompt": PROMPT,
        "seed": 3,
        "guided": True,
        "scene": scene.model_dump(mode="json"),
        "config": {**config, **changes.pop("config", {})},
        **changes,
    }


def forged(folder: Path, metadata: Any, size: tuple[int, int] = (8, 8)) -> Path:
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    info = PngInfo()
    info.add_itxt(METADATA_KEY, text)
    Image.new("RGB", size).save(folder / "forged.png", pnginfo=info)
    return folder / "forged.png"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw(folder: Path, width: int, height: int, *chunks: bytes) -> Path:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    (folder / "raw.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b""))
    return folder / "raw.png"


def test_an_honest_picture_says_what_it_wants(tmp_path: Path) -> None:
    recipe, _ = read_recipe(
        forged(tmp_path, honest(config={"steps": 7, "backend_options": {"backdrop": "navy", "noise": 0.5}}))
    )
    recipe.check_trust()
    assert recipe.wants() == f"backend tiny, backdrop=navy, noise=0.5, 7 steps, seed 3, '{PROMPT}'"


@pytest.mark.parametrize(
    "options",
    [
        {"model": "someone/model"},
        {"model": "/some/folder"},
        {"revision": "refs/pr/1"},
        {"loras": [{"model": "someone/lora"}]},
        {"textual_inversions": ["someone/word"]},
        {"dtype": ["float32"]},
    ],
)
def test_a_strangers_model_is_loaded_only_with_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    loaded: list[bool] = []

    def load(self: SpatialGuide) -> Any:
        loaded.append(True)
        raise OutputError("far enough")

    monkeypatch.setattr(SpatialGuide, "pipeline", property(load))
    path = forged(tmp_path, honest(config={"backend": "sd15", "backend_options": options}))
    told: list[str] = []
    with pytest.raises(UntrustedError, match="--trust"):
        replay(path, tmp_path / "out.png", tell=told.append)
    assert "backend sd15" in told[0]
    assert next(iter(options)) in told[0]
    assert loaded == []
    with pytest.raises(SpatialGuideError):
        replay(path, tmp_path / "out.png", trust=True)
    # Without one of its own, a registered backend is what its plugin says it is.
    with pytest.raises(OutputError, match="far enough"):
        replay(forged(tmp_path, honest(config={"backend": "sd15"})), tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (honest(config={"steps": 10**12}), "'config.steps'"),
        (honest(config={"width": 80_000, "height": 80_000}), "'config.width'"),
        (honest(config={"guidance": {"map_size": 10**5}}), "'config.guidance.map_size'"),
        (honest(config={"guidance": {"best_of": 10**9}}), "'config.guidance.best_of'"),
        (honest(config={"scheduler_options": {"num_train_timesteps": 10**12}}), "'config.scheduler_options'"),
        (honest(config={"guidance_scale": float("nan")}), "'config.guidance_scale'"),
        (honest(guided="false"), "'guided'"),
        (honest(seed=float("inf")), "'seed'"),
        (honest(seed=-1), "'seed'"),
        (honest(seed=True), "'seed'"),
        (honest(prompt="a bus"), "the scene belongs to another prompt"),
        (honest(versions=["torch"]), "'versions'"),
        (honest(scene=[]), "'scene'"),
        ({**honest(), "config": []}, "'config'"),
        ("[" * 100_000, "nested deeper"),
        ("9" * 5000, "limit"),
        ("[]", "they are no object"),
        ('{"seed": 1, "seed": 2}', "is there twice"),
        (json.dumps({"a": "x" * 300_000}), "longer than 200,000"),
    ],
)
def test_forged_metadata_is_refused_in_one_line(tmp_path: Path, metadata: Any, message: str) -> None:
    with pytest.raises(OutputError) as error:
        replay(forged(tmp_path, metadata), tmp_path / "out.png")
    assert message in str(error.value)
    assert len(str(error.value)) < 1000
    assert not (tmp_path / "out.png").exists()


def test_pictures_that_would_not_fit_are_refused(tmp_path: Path) -> None:
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (12_000, 8000), (0, 5)):
        with pytest.raises(OutputError, match="cannot read"):
            read_metadata(raw(tmp_path, width, height))
    bomb = zlib.compress(bytes(200_000_000))
    for name in (b"zTXt", b"iTXt"):
        content = METADATA_KEY.encode() + (b"\0\0" if name == b"zTXt" else b"\0\1\0\0\0") + bomb
        with pytest.raises(OutputError):
            read_metadata(raw(tmp_path, 8, 8, chunk(name, content)))
    with pytest.raises(OutputError, match="cannot read"):
        read_pixels(raw(tmp_path, 5000, 5000))
    (tmp_path / "x.gif").write_bytes(b"GIF89a")
    with pytest.raises(OutputError, match="cannot read"):
        read_metadata(tmp_path / "x.gif")


def test_every_number_of_a_recipe_has_bounds() -> None:
    seed = Recipe.model_json_schema()["properties"]["seed"]
    assert (seed["minimum"], seed["exclusiveMaximum"]) == (0, 2**63)
