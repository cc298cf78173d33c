"""`spatialguide batch`, and its Ray engine, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spatialguide.batch.store import Store
from spatialguide.commands.main import app

pytestmark = pytest.mark.filterwarnings("ignore")


def lines(folder: Path) -> str:
    path = folder / "prompts.txt"
    path.write_text("a cat to the left of a dog\na bus above a bird\n")
    return str(path)


def test_done_is_exit_code_0_and_json_is_one_object(tmp_path: Path) -> None:
    words = ["batch", lines(tmp_path), "--out", str(tmp_path / "out"), "--set", "steps=2", "--images", "2", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["done"], report["failed"]) == (4, 0)
    assert [row["seed"] for row in Store(str(tmp_path / "out")).rows()] == [0, 1, 0, 1]


def test_prompts_come_from_standard_input(tmp_path: Path) -> None:
    words = ["batch", "-", "--out", str(tmp_path), "--set", "steps=1", "--json"]
    result = CliRunner().invoke(app, words, input="a cat to the left of a dog\n")
    assert json.loads(result.stdout)["done"] == 1


def test_what_is_damaged_is_said_and_no_place_is_refused(tmp_path: Path) -> None:
    words = ["batch", lines(tmp_path), "--out", str(tmp_path / "out"), "--set", "steps=1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    image = next((tmp_path / "out" / "images").rglob("*.png"))
    image.write_bytes(image.read_bytes().replace(b"IDAT", b"IDAX"))
    assert "or damaged" not in CliRunner().invoke(app, words).output
    assert "1 images were gone or damaged" in CliRunner().invoke(app, [*words, "--verify"]).output
    refused = CliRunner().invoke(app, ["batch", lines(tmp_path), "--out", ""])
    assert "--out names no folder" in str(refused.exception)


@pytest.mark.slow
def test_a_failed_request_is_exit_code_1_and_logs_say_which(tmp_path: Path) -> None:
    source = tmp_path / "prompts.jsonl"
    source.write_text('{"prompt": ""}\n')
    # A process of its own: the log handler would stay.
    words = [
        sys.executable,
        "-m",
        "spatialguide",
        "batch",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--json-logs",
        "--quiet",
    ]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [event["event"] for event in events] == ["start", "unit", "failed", "end"]
    assert "the prompt is empty" in events[2]["error"]


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    for option in (["--engine", "spark"], ["--layout", "zip"], ["--batch", "0"], ["--workers", "2"]):
        assert CliRunner().invoke(app, ["batch", lines(tmp_path), "--out", str(tmp_path / "out"), *option]).exit_code == 2


DEADLY = """
import os, signal
from typing import ClassVar
from spatialguide import LossTerm, hookimpl

class Deadly(LossTerm):
    reads_words: ClassVar[bool] = True

    def __call__(self, statistics, scene):
        if "clock" in scene.scene.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        return statistics.mass.sum(dim=(1, 2))

@hookimpl
def spatialguide_losses(register):
    register("deadly", Deadly)
"""


def install_deadly(folder: Path) -> dict[str, str]:
    """A plugin that kills its process at the sight of a clock; the environment that has it."""
    about = folder / "deadly-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[spatialguide]\ndeadly = deadly\n")
    (folder / "deadly.py").write_text(DEADLY)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


#: Starts the command again and again, in processes that have loaded the libraries already.
AGAIN = """
import os, sys
import diffusers, spacy, torch
from spatialguide.commands.main import main
for _ in range(9):
    child = os.fork()
    if not child:
        main()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("ended with", code, flush=True)
    if code >= 0:
        break
"""


@pytest.mark.slow
def test_the_local_engine_sets_aside_what_kills_it(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat to the left of a dog\na clock above a cow\na bus above a bird\n")
    words = ["batch", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out"), "--set", "steps=1", "--batch", "1"]
    words += ["--set", "losses.deadly.weight=1", "--threads", "1", "--unit", "2", "--json"]
    run = [sys.executable, "-c", AGAIN, *words]
    done = subprocess.run(run, env=install_deadly(tmp_path), capture_output=True, text=True, timeout=300, check=False)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("ended")] == [*["ended with -9"] * 4, "ended with 1"], done.stderr
    (report,) = (json.loads(line) for line in lines if line.startswith("{"))
    assert (report["done"], report["errors"]) == (2, ["request 1: the process that drew it died each time"])


@pytest.mark.slow
@pytest.mark.ray
def test_ray_draws_the_same_bits_as_the_local_engine_and_sets_aside_what_kills_its_workers(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    environment = install_deadly(tmp_path)
    sound = ["a cat to the left of a dog", "a bus above a bird"]
    (tmp_path / "local.txt").write_text("\n".join(sound))
    (tmp_path / "ray.txt").write_text("\n".join([sound[0], "a clock above a cow", sound[1]]))
    shared = ["--set", "steps=2", "--set", "losses.deadly.weight=1", "--batch", "2", "--unit", "1", "--threads", "1", "--json"]
    reports = {}
    for engine in ("local", "ray"):
        words = [sys.executable, "-m", "spatialguide", "batch", str(tmp_path / f"{engine}.txt"), *shared]
        words += ["--out", str(tmp_path / engine), "--engine", engine, *(["--workers", "2"] if engine == "ray" else [])]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.stdout, done.stderr
        # Ray prints its workers' lines to the same place.
        reports[engine] = json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))
    assert (reports["local"]["done"], reports["local"]["failed"]) == (2, 0)
    assert (reports["ray"]["done"], reports["ray"]["failed"]) == (2, 1)
    assert reports["ray"]["errors"] == ["request 1: the process that drew it died each time"]
    images = {name: {p.name: p.read_bytes() for p in (tmp_path / name / "images").rglob("*.png")} for name in reports}
    assert len(images["local"]) == 2
    assert images["ray"] == images["local"]
    assert sorted((row["index"], row["status"]) for row in Store(str(tmp_path / "ray")).rows()) == [
        (0, "done"),
        (1, "failed"),
        (2, "done"),
    ]
