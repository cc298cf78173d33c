"""Runs that survive: nothing lost, nothing done twice, nothing mixed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from spatialguide.config import make_config
from spatialguide.errors import EvaluationError, OutputError
from spatialguide.evaluation.benchmark import run_benchmark
from spatialguide.evaluation.runs import Run

PICTURE = Image.new("RGB", (8, 8), "red")
SETTINGS: dict[str, Any] = {"prompts": 4, "images": 1, "batch": 2}


def test_images_are_kept_once(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {"a": 1})
    key = run.key("a cat", 0, "guided")
    run.add(key, PICTURE, {"score": 1.0})
    run.add(key, PICTURE, {"score": 0.0})
    again = Run(tmp_path / "run", {"a": 1})
    assert len(again) == 1
    assert again.row(key) == {"key": key, "score": 1.0}
    assert again.has([key])
    assert not again.has([key, again.key("a cat", 1, "guided")])
    with Image.open(again.picture(key)) as picture:
        assert picture.size == (8, 8)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "environment.json",
        "images",
        "manifest.json",
        "rows.jsonl",
    ]


def test_every_request_has_its_own_key(tmp_path: Path) -> None:
    run, other = Run(tmp_path / "a", {"a": 1}), Run(tmp_path / "b", {"a": 2})
    keys = [each.key(p, s, m) for each in (run, other) for p in ("x", "y") for s in (0, 1) for m in ("guided", "unguided")]
    assert len(set(keys)) == len(keys)
    assert Run(tmp_path / "c", {"a": 1}).key("x", 0, "guided") == run.key("x", 0, "guided")


def test_a_line_cut_short_is_dropped_and_written_again(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    for name in ("first", "second"):
        run.add(name, PICTURE, {"text": "é" * 50})
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = Run(tmp_path, {})
    assert (again.has(["first"]), again.has(["second"])) == (True, False)
    again.add("second", PICTURE, {"text": "x"})
    assert [json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()] == ["first", "second"]


def test_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    Run(tmp_path, {"config": {"steps": 8, "scale": 3.0}})
    with pytest.raises(EvaluationError, match=r"config\.steps is 8 there and 9 here"):
        Run(tmp_path, {"config": {"steps": 9, "scale": 3.0}})
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot keep a run"):
        Run(tmp_path / "file", {})


def scores(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What a run found out, without how long it took, and its pictures."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["key"] for row in rows}) == len(rows)
    return {
        row["key"]: (row["detected"], row["score"], row["detections"], (folder / "images" / f"{row['key']}.png").read_bytes())
        for row in rows
    }


def test_a_killed_run_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spatialguide", "bench", "run", "visor", "--steps", "4", "--out", str(tmp_path / "killed")]
    command += [text for name, value in SETTINGS.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = tmp_path / "killed" / "rows.jsonl"
    deadline = time.monotonic() + 60
    while not rows.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert rows.exists()
    config = make_config(steps=4)
    resumed = run_benchmark(config, folder=tmp_path / "killed", **SETTINGS)
    alone = run_benchmark(config, folder=tmp_path / "alone", **SETTINGS)
    assert scores(tmp_path / "killed") == scores(tmp_path / "alone")
    assert len(scores(tmp_path / "alone")) == 8
    assert (resumed.unguided, resumed.guided, resumed.comparison) == (alone.unguided, alone.guided, alone.comparison)
    # A third start finds everything done, down to the seconds.
    assert run_benchmark(config, folder=tmp_path / "alone", **SETTINGS) == alone
    with pytest.raises(EvaluationError, match="holds another run"):
        run_benchmark(make_config(steps=5), folder=tmp_path / "alone", **SETTINGS)
