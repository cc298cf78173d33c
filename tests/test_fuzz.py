"""Hostile input of every kind: a named error or a result, never another exception.

`HYPOTHESIS_PROFILE=fuzz python -m pytest tests/test_fuzz.py` tries 20,000 cases, each in five seconds at most.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spatialguide.batch.requests import read_units
from spatialguide.commands.config import checked
from spatialguide.commands.console import plain
from spatialguide.commands.options import pairs
from spatialguide.config import load_config, make_config, patched
from spatialguide.errors import SpatialGuideError
from spatialguide.guide import SpatialGuide
from spatialguide.pictures.diagram import grid_table, scene_svg
from spatialguide.pictures.png import METADATA_KEY, read_pixels
from spatialguide.pictures.recipe import read_recipe
from spatialguide.registry import default_registry
from spatialguide.scenes.conflicts import without_conflicts
from spatialguide.scenes.records import load_scene, scene_from_triples, to_record
from spatialguide.scenes.scene import Scene

PROMPT = "a red cat to the left of two dogs, a moon in the top left corner"
GUIDE = SpatialGuide()
CONFIG: dict[str, Any] = make_config("paper").model_dump(mode="json")
SCENE = scene_from_triples(PROMPT, [("cat", "left_of", "dogs")])
RECORD = to_record(SCENE)
METADATA = {
    **{"spatialguide": "0.1.0", "versions": {"torch": "2"}, "prompt": PROMPT, "seed": 3, "guided": True},
    **{"scene": SCENE.model_dump(mode="json"), "config": CONFIG},
}
ODD = [
    "",
    " ",
    "\x1c",
    "\x1b[31m",
    "\0",
    "\u202e",
    "\ud800",
    "x" * 300,
    "x" * 20_000,
    "<b>",
    "a.b",
    "+alignment",
    "../up",
    "é🐱",
]
WHOLES = [0, -1, 1, 4, 64, 1000, 1001, 10**12, 2**63, -(2**63), 10**400]
FRACTIONS = [0.0, -0.0, 0.5, 1e-300, 1e300, -1e300, float("inf"), float("nan")]
SCALARS = st.sampled_from([None, True, False, *WHOLES, *FRACTIONS, *ODD]) | st.text(max_size=8) | st.integers(-9, 999)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
#: What YAML, JSON, CSV and prompts are made of, and what breaks their readers.
TOKENS = st.sampled_from(
    [
        *("steps: ", "losses: ", "guidance: ", "alignment", "weight: ", "prompt: ", "objects: ", "relations: ", "text: ", "3"),
        *(
            ": ",
            "- ",
            "? ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "\n",
            "\n  ",
            "\t",
            "'",
            '"',
            "#",
            "|\n",
            ">\n",
            "&a ",
            "*a",
            "<<: *a",
            "!!int ",
        ),
        *(
            "!!python/object/apply:os.system ",
            "!!timestamp ",
            "!!binary ",
            "%YAML 1.1\n",
            "---\n",
            "...\n",
            "2021-13-45",
            "1:2:3",
        ),
        *("9" * 5000, "0x" + "f" * 5000, "[" * 3000, "{" * 3000, "- " * 3000, "1e999", ".nan", ".inf", "on", "~", "=", *ODD),
        *(
            "\\",
            "\\u",
            '{"prompt": "',
            '"seed": ',
            "a cat",
            " left of ",
            "a dog",
            "{{",
            "}}",
            "cat left_of dog",
            ";",
            " and ",
            "(",
            ")",
        ),
        *(
            "((dog:1.2))",
            "<lora:x:1>",
            "two ",
            "a million ",
            " it ",
            " which is ",
            " above ",
            " between ",
            "BREAK",
            "::2",
            "--ar 1:1",
        ),
    ]
)
NOISE = st.lists(TOKENS | st.text(max_size=4), max_size=24).map("".join)


@st.composite
def mutated(draw: st.DrawFn, base: Any) -> Any:
    """A sound value with up to four places changed, left out or added."""
    value = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 4))):
        place = value
        while True:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys)) if keys else None
            if key is None or not isinstance(place[key], (dict, list)) or draw(st.booleans()):
                break
            place = place[key]
        what = draw(st.sampled_from(["change", "change", "drop", "add"]))
        if key is not None and what == "drop":
            del place[key]
        elif key is not None and what == "change":
            place[key] = draw(VALUES)
        elif isinstance(place, dict):
            place[draw(st.text(max_size=5) | st.sampled_from(["model", "preset", "levels", *ODD]))] = draw(VALUES)
        else:
            place.append(draw(VALUES))
    return value


def documents(base: Any) -> st.SearchStrategy[str]:
    return mutated(base).map(json.dumps) | mutated(base).map(yaml.safe_dump) | NOISE


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, in whose test less than a gigabyte is taken."""
    resource = pytest.importorskip("resource")
    peak = partial(resource.getrusage, resource.RUSAGE_SELF)
    before = peak().ru_maxrss
    yield tmp_path_factory.mktemp("fuzz")
    assert peak().ru_maxrss - before < 2**30 // (1 if sys.platform == "darwin" else 1024)


def tried(action: Callable[[], Any]) -> Any:
    """What the action gives; None where it refuses in one sound line."""
    try:
        return action()
    except (SpatialGuideError, typer.BadParameter) as error:
        line = " ".join(str(error).split())
        assert line
        plain(line).encode()
        return None


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


@given(text=documents(CONFIG), assignment=NOISE)
def test_configurations(place: Path, text: str, assignment: str) -> None:
    config = tried(lambda: load_config(put(place / "guide.yaml", text)))
    if config is not None:
        json.loads(config.model_dump_json())
        yaml.safe_dump(config.model_dump(mode="json"))
        tried(lambda: checked(config))
    values = tried(lambda: pairs([assignment]))
    if values:
        tried(lambda: patched(make_config(), values))


@given(text=documents(RECORD) | documents(SCENE.model_dump(mode="json")))
def test_scenes(place: Path, text: str) -> None:
    scene = tried(lambda: load_scene(put(place / "scene.yaml", text)))
    if scene is not None:
        check_scene(scene)


def check_scene(scene: Scene) -> None:
    """A scene that was read can be shown, written down and planned."""
    scene.model_dump_json()
    json.dumps(to_record(scene))
    scene.describe()
    scene_svg(scene)
    planned = tried(lambda: GUIDE.plan(scene))
    if planned is not None:
        grid_table(scene, default_registry().relations())
        without_conflicts(planned)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@given(text=documents(METADATA), seed=st.randoms(use_true_random=False), how=st.sampled_from(["itxt", "text", "raw", "cut"]))
def test_pictures(place: Path, text: str, seed: Any, how: str) -> None:
    buffer, info = io.BytesIO(), PngInfo()
    if how in ("itxt", "cut"):
        info.add_itxt(METADATA_KEY, text.encode("utf-8", "replace").decode(), zip=seed.random() < 0.5)
    elif how == "text":
        info.add_text(METADATA_KEY, text.encode("latin-1", "replace").decode("latin-1"), zip=seed.random() < 0.5)
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    content = bytearray(buffer.getvalue())
    if how == "raw":
        name = seed.choice([b"zTXt", b"iTXt", b"tEXt", b"IHDR", b"PLTE", b"eXIf"])
        body = (
            METADATA_KEY.encode()
            + seed.choice([b"\0", b"\0\0", b"\0\1\0\0\0", b""])
            + seed.choice([zlib.compress, bytes])(text.encode("utf-8", "replace"))
        )
        content[33:33] = chunk(name, body)
    if how == "cut":
        for _ in range(seed.randint(1, 4)):
            content[seed.randrange(len(content))] = seed.randrange(256)
        del content[seed.randrange(len(content)) :]
    (place / "picture.png").write_bytes(content)
    tried(lambda: read_pixels(place / "picture.png"))
    found = tried(lambda: read_recipe(place / "picture.png"))
    if found is not None:
        recipe, _ = found
        recipe.wants()
        tried(recipe.check_trust)
        check_scene(recipe.scene)


ROW = {"prompt": PROMPT, "seed": 3, "id": "a", "config": {"steps": 3, "guidance": {"strength": 1.0, "best_of": 2}}}


def lines(rows: list[Any]) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


def table(rows: list[list[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([["prompt", "seed", "steps", "guidance.best_of"], *rows])
    return stream.getvalue()


FILES = (
    st.tuples(st.just("jsonl"), st.lists(mutated(ROW) | NOISE, max_size=4).map(lines))
    | st.tuples(st.just("json"), mutated([ROW, ROW]).map(json.dumps) | NOISE)
    | st.tuples(
        st.just("csv"),
        st.lists(st.lists(NOISE.map(lambda text: text.replace("\0", "")), max_size=5), max_size=3).map(table) | NOISE,
    )
    | st.tuples(st.just("txt"), NOISE)
)


@given(file=FILES)
def test_requests(place: Path, file: tuple[str, str]) -> None:
    kind, text = file
    path = put(place / f"requests.{kind}", text)
    for unit in tried(lambda: list(read_units(str(path), 4))) or ():
        unit.digest  # noqa: B018
        for request in unit.requests:
            tried(lambda: patched(make_config(), request.config))  # noqa: B023


@given(prompt=NOISE)
def test_prompts(prompt: str) -> None:
    scene = tried(lambda: GUIDE.parse(prompt))
    if scene is not None:
        check_scene(scene)
