"""The command line as a user meets it: one process per call where exit codes and traces matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from spatialguide.cli import app, main
from spatialguide.images import read_metadata

PROMPT = "a cat to the left of a dog"
run = CliRunner().invoke


def spatialguide(*arguments: str, cwd: Path, code: int) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process and check the exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "spatialguide", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return done


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run in this process; expect exit code 1 and one line; return it."""
    monkeypatch.setattr(sys, "argv", ["spatialguide", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


def test_generate_compare_writes_one_png_with_its_metadata(tmp_path: Path) -> None:
    done = spatialguide("generate", PROMPT, "-o", "out.png", "--compare", "--steps", "6", "--seed", "3", cwd=tmp_path, code=0)
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    assert "objects: cat, dog; relations: cat left_of dog" in done.stdout
    assert "guided" in done.stdout
    with Image.open(tmp_path / "out.png") as image:
        assert image.width > 2 * 384
    metadata = read_metadata(tmp_path / "out.png")
    assert (metadata["prompt"], metadata["seed"], metadata["guided"]) == (PROMPT, 3, True)
    assert metadata["config"]["steps"] == 6
    assert metadata["scene"]["relations"][0]["predicate"] == "left_of"
    assert metadata["spatialguide"]


def test_quiet_prints_nothing_and_json_one_object(tmp_path: Path) -> None:
    arguments = ("generate", PROMPT, "-o", str(tmp_path / "out.png"), "--steps", "2")
    quiet = run(app, [*arguments, "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")
    done = spatialguide(*arguments, "--quiet", cwd=tmp_path, code=0)
    assert (done.stdout, done.stderr) == ("", "")
    report = json.loads(run(app, [*arguments, "--json"]).stdout)
    assert report["output"] == str(tmp_path / "out.png")
    assert report["guided_steps"] > 0


def test_trace_is_written(tmp_path: Path) -> None:
    run(
        app,
        ["generate", PROMPT, "-o", str(tmp_path / "o.png"), "--steps", "4", "--trace", str(tmp_path / "t.json"), "-q"],
    )
    assert len(json.loads((tmp_path / "t.json").read_text())["steps"]) > 0


def test_parse_prints_tables_and_json() -> None:
    table = run(app, ["parse", PROMPT]).output
    assert "left_of" in table
    scene = json.loads(run(app, ["parse", PROMPT, "--json"]).output)
    assert [o["text"] for o in scene["objects"]] == ["cat", "dog"]
    assert scene["relations"][0]["predicate"] == "left_of"


def test_plugins_lists_what_is_there_and_where_from() -> None:
    rows = json.loads(run(app, ["plugins", "--json"]).output)
    assert {
        "kind": "losses",
        "name": "alignment",
        "distribution": "spatialguide",
        "module": "spatialguide_plugins.alignment",
    } in rows
    assert "alignment" in run(app, ["plugins"]).output


def test_no_relation_warns_and_generates_unguided(tmp_path: Path) -> None:
    done = spatialguide("generate", "a cat and a dog", "-o", "out.png", "--steps", "2", cwd=tmp_path, code=0)
    assert "warning: no relation found" in done.stderr
    assert "objects: cat, dog" in done.stderr
    assert read_metadata(tmp_path / "out.png")["guided"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", ""), "the prompt is empty"),
        (("generate", " \n "), "the prompt is empty"),
        (("generate", "a cat and a dog", "--strict"), "no relation found in 'a cat and a dog'"),
        (("generate", "a cat left of a dog and the dog left of the cat"), "cannot hold together"),
        (("generate", "a cat " + "and a bird " * 40 + "left of a dog"), "reads only 77 tokens"),
        (("generate", PROMPT, "-o", "/no/such/folder/out.png"), "cannot write '/no/such/folder/out.png'"),
        (("generate", "a cat behind a dog"), "no relation plugin knows 'behind'"),
        (("generate", "a [/b] cat and a [red] dog", "--strict"), "a [/b] cat and a [red] dog"),
        (("generate", PROMPT, "--steps", "0"), "'steps'"),
        (("generate", PROMPT, "--strength", "inf"), "'guidance.strength'"),
        (("generate", PROMPT, "--seed", "-1"), "seed must be between"),
        (("generate", PROMPT, "--trace", "."), "must end in .json"),
        (("bench", "visor", "--sheet", "/no/such/sheet.png"), "cannot write '/no/such/sheet.png'"),
        (("generate", PROMPT, "-o", "out.gif"), "must end in .png"),
        (("generate", PROMPT, "--backend", "tinny"), "Did you mean 'tiny'?"),
        (("generate", PROMPT, "--scheduler", "DDIMM"), "Did you mean 'DDIMScheduler'?"),
        (("generate", PROMPT, "--preset", "papper"), "Did you mean 'paper'?"),
        (("generate", PROMPT, "--config", "none.yaml"), "cannot read configuration"),
        (("parse", ""), "the prompt is empty"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(monkeypatch, capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_key_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "guide.yaml"
    path.write_text("guidance: {strenght: 2}")
    line = fails(monkeypatch, capsys, "generate", PROMPT, "--config", str(path), "-o", str(tmp_path / "o.png"))
    assert "unknown key 'guidance.strenght'. Did you mean 'strength'?" in line
    assert not (tmp_path / "o.png").exists()
    path.write_text("losses: {alignment: {marjin: 2}}")
    line = fails(monkeypatch, capsys, "generate", PROMPT, "--config", str(path), "-o", str(tmp_path / "o.png"))
    assert "losses.alignment: unknown key 'marjin'. Did you mean 'margin'?" in line


def test_unknown_objects_are_a_warning(tmp_path: Path) -> None:
    done = spatialguide("generate", "a walrus above a cat", "-o", "out.png", "--steps", "2", cwd=tmp_path, code=0)
    assert "has never seen: walrus" in done.stderr


def test_help_of_every_command() -> None:
    for arguments in ([], ["generate"], ["parse"], ["plugins"], ["bench", "visor"], ["bench", "targets"]):
        result = run(app, [*arguments, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output
