"""Runs that survive: nothing lost, nothing done twice, nothing mixed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from spatialguide.config import make_config
from spatialguide.errors import EvaluationError, OutputError, RunWarning
from spatialguide.evaluation.benchmark import Task, run_benchmark
from spatialguide.evaluation.report import MethodReport
from spatialguide.evaluation.runs import Run, read_manifest
from spatialguide.evaluation.study import benchmark_methods

PICTURE = Image.new("RGB", (8, 8), "red")
TASK = Task("visor", prompts=4, images=1, batch=2)


def test_images_are_kept_once(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {"a": 1})
    key = "key"
    with run.writing():
        run.add(key, PICTURE, {"score": 1.0})
        run.add(key, PICTURE, {"score": 0.0})
    again = Run(tmp_path / "run", {"a": 1})
    assert len(again) == 1
    assert again.row(key) == {"key": key, "score": 1.0}
    assert again.has([key])
    assert not again.has([key, "another"])
    with Image.open(again.picture(key)) as picture:
        assert picture.size == (8, 8)
    assert sorted(path.name for path in (tmp_path / "run").glob("[!.]*")) == [
        "environment.json",
        "images",
        "manifest.json",
        "rows.jsonl",
    ]


def test_a_run_taken_up_elsewhere_is_a_warning(tmp_path: Path) -> None:
    Run(tmp_path, {})
    path = tmp_path / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "torch": "1.0"}))
    with pytest.warns(RunWarning, match=r"torch is \"1\.0\" there"):
        Run(tmp_path, {})


def test_a_line_cut_short_is_dropped_and_written_again(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    with run.writing():
        for name in ("first", "second"):
            run.add(name, PICTURE, {"text": "é" * 50})
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    cut = path.read_bytes()
    (tmp_path / "images" / ".third.png.1-1.draft").write_bytes(b"half")
    again = Run(tmp_path, {})
    assert (again.has(["first"]), again.has(["second"])) == (True, False)
    # Looking at a run changes nothing: another process may be writing that line.
    assert path.read_bytes() == cut
    with again.writing():
        again.add("second", PICTURE, {"text": "x"})
    assert not (tmp_path / "images" / ".third.png.1-1.draft").exists()
    assert [json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()] == ["first", "second"]


def test_two_processes_do_not_draw_one_run(tmp_path: Path) -> None:
    with (
        Run(tmp_path, {}).writing(),
        pytest.raises(EvaluationError, match="another process is drawing"),
        Run(tmp_path, {}).writing(),
    ):
        pass
    with Run(tmp_path, {}).writing():
        pass


def test_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    Run(tmp_path, {"config": {"steps": 8, "scale": 3.0}})
    with pytest.raises(EvaluationError, match=r"config\.steps is 8 there and 9 here"):
        Run(tmp_path, {"config": {"steps": 9, "scale": 3.0}})
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot keep a run"):
        Run(tmp_path / "file", {})


def figures(method: MethodReport) -> MethodReport:
    """All but what depends on the machine's mood."""
    return replace(method, seconds=0.0, memory=None)


def scores(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What a run found out, without how long it took, and its pictures."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["key"] for row in rows}) == len(rows)
    return {
        row["key"]: (row["detected"], row["score"], row["detections"], (folder / "images" / f"{row['key']}.png").read_bytes())
        for row in rows
    }


@pytest.mark.slow
def test_a_killed_run_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spatialguide", "bench", "run", "visor", "--steps", "6", "--out", str(tmp_path / "killed")]
    command += ["--prompts", "4", "--images", "1", "--batch", "2", "--set", "width=128", "--set", "height=128"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = tmp_path / "killed" / "rows.jsonl"
    deadline = time.monotonic() + 60
    while not rows.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert rows.exists()
    methods = benchmark_methods(make_config(steps=6, width=128, height=128))
    resumed = run_benchmark(methods, TASK, folder=tmp_path / "killed")
    alone = run_benchmark(methods, TASK, folder=tmp_path / "alone")
    assert scores(tmp_path / "killed") == scores(tmp_path / "alone")
    assert len(scores(tmp_path / "alone")) == 8
    assert [figures(method) for method in resumed.methods] == [figures(method) for method in alone.methods]
    # A third start finds everything done, down to the seconds.
    assert run_benchmark(methods, TASK, folder=tmp_path / "alone").methods == alone.methods
    with pytest.raises(EvaluationError, match="holds another run"):
        run_benchmark(benchmark_methods(make_config(steps=5)), TASK, folder=tmp_path / "alone")


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "9" * 5000, '{"a": 1, "a": 2}'])
def test_a_manifest_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(EvaluationError, match="holds no run"):
        read_manifest(tmp_path)


def test_twins_are_drawn_from_the_same_seeds_and_counted(tmp_path: Path) -> None:
    methods = benchmark_methods(make_config(steps=2))
    report = run_benchmark(methods, Task("swapped", prompts=2, images=2, batch=1, seed=3), folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["seed"] for row in rows] == [3, 4] * 4
    assert all({"strict", "missing", "double"} <= row.keys() for row in rows)
    assert set(report.methods[0].rates) == {"strict", "missing", "double", "both", "both strict"}
