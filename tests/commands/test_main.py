"""The command line as a user meets it: one process per call where exit codes and traces matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import heed_interrupts
from PIL import Image
from typer.testing import CliRunner

from spatialguide.commands.main import app, main
from spatialguide.config import make_config
from spatialguide.pictures.png import read_metadata, save_png

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


@pytest.mark.slow
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


@pytest.mark.slow
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
        "module": "spatialguide_plugins.losses.alignment",
    } in rows
    assert "alignment" in run(app, ["plugins"]).output


@pytest.mark.slow
def test_no_relation_warns_and_generates_unguided(tmp_path: Path) -> None:
    done = spatialguide("generate", "a cat and a dog", "-o", "out.png", "--steps", "2", cwd=tmp_path, code=0)
    assert "warning: no relation found" in done.stderr
    assert "to guide it, say where things are" in done.stderr
    assert "objects: cat, dog" in done.stderr
    assert read_metadata(tmp_path / "out.png")["guided"] is False


def test_parse_shows_the_layout_and_what_was_ignored() -> None:
    printed = run(app, ["parse", "a cat left of a dog in a hurry, a moon in the top left corner"]).output
    assert "layout" in printed
    assert "top_left" in printed
    assert "ignored: 'in': a setting" in printed


def test_parse_can_be_quiet() -> None:
    prompt = "a cat to the left of a dog, diagonally across from a bus"
    assert "left_of" in run(app, ["parse", prompt]).stdout
    done = run(app, ["parse", prompt, "--quiet"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(run(app, ["parse", prompt, "--quiet", "--json"]).stdout)["relations"]


def test_parse_draws_the_graph(tmp_path: Path) -> None:
    run(app, ["parse", PROMPT, "--svg", str(tmp_path / "scene.svg")])
    assert (tmp_path / "scene.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.slow
def test_parse_a_file_of_prompts(tmp_path: Path) -> None:
    lines = [{"id": 7, "prompt": PROMPT}, {"prompt": ""}, {"id": "x", "prompt": f"{PROMPT}, the dog left of the cat"}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    done = spatialguide("parse", "--input", "in.jsonl", "--output", "out.jsonl", cwd=tmp_path, code=0)
    assert "3 prompts, 2 with a problem" in done.stdout
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record.get("id") for record in records] == [7, None, "x"]
    assert records[0]["relations"] == [["o1", "left_of", "o2"]]
    assert records[0]["objects"][1]["span"] == [23, 26]
    assert "the prompt is empty" in records[1]["problem"]
    assert "cannot hold together" in records[2]["problem"]
    assert len(records[2]["relations"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_line_that_is_no_json_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(
        f'{{"prompt": "{PROMPT}"}}\n{{broken\n{{"prompt": 5}}\n{{"prompt": "\\ud800"}}\n', encoding="utf-8"
    )
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "out.jsonl")
    run(app, ["parse", "--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "link.jsonl")])
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(records[0]["relations"]) == 1
    assert "line 2 is not JSON" in records[1]["problem"]
    assert 'needs a text "prompt"' in records[2]["problem"]
    assert "no valid text" in records[3]["problem"]


def test_parse_reads_what_batch_reads(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"prompt,id\n{PROMPT},x\n", encoding="utf-8")
    done = run(app, ["parse", "--input", str(tmp_path / "in.csv"), "--output", "-"])
    assert (json.loads(done.stdout)["id"], len(json.loads(done.stdout)["relations"])) == ("x", 1)


def test_parse_plain_lines_from_standard_input(tmp_path: Path) -> None:
    done = run(app, ["parse", "--input", "-", "--output", str(tmp_path / "out.jsonl"), "--json"], input=f"{PROMPT}\n\na bus\n")
    assert json.loads(done.output) == {"output": str(tmp_path / "out.jsonl"), "prompts": 2, "problems": 0}


@pytest.mark.slow
def test_a_scene_file_beats_the_parser(tmp_path: Path) -> None:
    scene = {"prompt": PROMPT, "relations": [["dog", "above", "cat"]]}
    (tmp_path / "scene.yaml").write_text(json.dumps(scene), encoding="utf-8")
    found = json.loads(run(app, ["parse", "--scene", str(tmp_path / "scene.yaml"), "--json"]).output)
    assert [relation["predicate"] for relation in found["relations"]] == ["above"]
    spatialguide("generate", "--scene", "scene.yaml", "-o", "out.png", "--steps", "2", cwd=tmp_path, code=0)
    assert read_metadata(tmp_path / "out.png")["scene"]["relations"][0]["predicate"] == "above"


@pytest.mark.slow
def test_score_visor_prints_the_figures_with_intervals(tmp_path: Path) -> None:
    rows = {f"{n}_{i}": {"classes": ["person", "bicycle"], "sra": int(i < 2)} for n in range(8) for i in range(4)}
    (tmp_path / "od.json").write_text(json.dumps(rows), encoding="utf-8")
    done = spatialguide("score", "visor", "--detections", "od.json", cwd=tmp_path, code=0)
    assert "100.00" in done.stdout
    path = str(tmp_path / "od.json")
    scores = json.loads(run(app, ["score", "visor", "--detections", path, "--against", path, "--json"]).output)
    assert (scores["oa"], scores["cond"], scores["uncond"], scores["at_least"]) == (100, 50, 50, [100, 100, 0, 0])
    assert scores["comparison"]["p_value"] == 1


QUICK = ["--prompts", "2", "--images", "1", "--steps", "2"]


@pytest.mark.slow
def test_variations_and_the_report_write_their_pages(tmp_path: Path) -> None:
    words = ["bench", "run", "visor", "--vary", "guidance.strength=0.5,1", "--vary", "losses=-balance", *QUICK]
    figures = json.loads(run(app, [*words, "--out", str(tmp_path), "--json"]).stdout)
    varied = [f"guidance.strength={value}, losses=-balance" for value in ("0.5", "1")]
    assert list(figures["methods"]) == ["unguided", "guided", *varied]
    assert set(figures["methods"]["guided"]["fidelity"]) == {"saturation", "distance", "Frechet", "Frechet ratio"}
    (tmp_path / "report.html").unlink()
    done = run(app, ["bench", "report", str(tmp_path), "--features", "none"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "report.html").exists()
    assert "Frechet" not in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_methods_are_compared_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("losses: {alignment: {weight: 2.0}}", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "yours.yaml").write_text("losses: {boxdiff: {}}", encoding="utf-8")
    methods = ["--method", "paper=paper", "--method", f"mine={tmp_path / 'mine.yaml'}", "--method", str(tmp_path / "folder")]
    figures = json.loads(run(app, ["bench", "run", "visor", *QUICK, *methods, "--json"]).stdout)
    assert list(figures["methods"]) == ["unguided", "guided", "paper", "mine", "yours"]
    assert list(figures["study"]["methods"]["yours"]["config"]["losses"]) == ["boxdiff"]
    assert list(figures["study"]["methods"]["mine"]["config"]["losses"]) == ["alignment"]


def test_images_are_scored_and_their_detections_written(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), "white").save(folder / f"0_{number}.png")
    found = tmp_path / "found.json"
    command = ["score", "visor", "--images", str(folder), "--detector", "tiny", "--write", str(found), "--json"]
    assert json.loads(run(app, command).output)["oa"] == 0
    rows = json.loads(found.read_text(encoding="utf-8"))
    assert rows["0_1"] == {"classes": [], "centroid": [], "recall": 0, "sra": 0, "text": "a person to the left of a bicycle"}
    assert json.loads(run(app, ["score", "visor", "--detections", str(found), "--json"]).output)["images"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "visor"],
        ["score", "visor", "--detections", "x.json", "--images", "y"],
        ["score", "visor", "--detections", "x.json", "--write", "y.json"],
        ["score", "visor", "--images", "y"],
        ["bench", "run"],
        ["bench", "run", "visor", "--vary", "steps"],
        ["bench", "run", "visor", "--vary", "steps="],
        ["bench", "run", "visor", "--vary", "guidance.window=[0,1"],
        ["bench", "run", "visor", "--method", "paper"],
        ["bench", "run", "visor", "--method", "/"],
        ["bench", "run", "visor", "--option", "names"],
        ["bench", "run", "visor", "--option", "names=[cat"],
    ],
)
def test_measuring_used_wrongly(arguments: list[str]) -> None:
    assert run(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["parse"], ["parse", "--input", "x"], ["parse", "a cat", "--input", "x", "--output", "y"]]
)
def test_parse_used_wrongly(arguments: list[str]) -> None:
    assert run(app, arguments).exit_code != 0


@pytest.mark.slow
def test_bench_parser_prints_classes_and_speed(tmp_path: Path) -> None:
    objects = [{"id": key, "text": name, "attributes": [], "count": 1} for key, name in (("a", "cat"), ("b", "dog"))]
    gold = {"id": "1", "category": "plain", "prompt": PROMPT, "objects": objects, "relations": [["a", "above", "b"]]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold), encoding="utf-8")
    done = run(app, ["bench", "parser", "--gold", str(tmp_path / "gold.jsonl"), "--fails", "1", "--templates", "0"])
    assert "plain" in done.output
    assert "missed: cat above dog wrong: cat left_of dog" in " ".join(done.output.split())
    assert "loading" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "run", "visorr"), "Did you mean 'visor'?"),
        (("bench", "run", "t2i", "--option", "file=none.txt"), "cannot read 'none.txt'"),
        (("bench", "run", "visor", "--option", "name=x"), "benchmark 'visor'"),
        (("bench", "run", "visor", "--method", "guided=paper"), "there is a method 'guided' already"),
        (("bench", "run", "visor", "--method", "x=none.yaml"), "cannot read configuration 'none.yaml'"),
        (("bench", "run", "visor", "--features", "tinny"), "Did you mean 'tiny'?"),
        (("bench", "run", "visor", "--reference", "none"), "holds 0 images"),
        (("bench", "run", "visor", "--vary", "losses=-balence"), "no term to leave out as '-balence'"),
        (("bench", "report", "none"), "'none' holds no run"),
        (("score", "visor", "--images", "none", "--detector", "tiny"), "holds no images named"),
        (("score", "visor", "--detections", "none.json"), "cannot read detections from 'none.json'"),
        (("parse", "--scene", "none.yaml"), "cannot read scene 'none.yaml'"),
        (("parse", "--input", "none.jsonl", "--output", "out.jsonl"), "cannot read prompts from 'none.jsonl'"),
        (("parse", PROMPT, "--svg", "/no/such/scene.svg"), "cannot write '/no/such/scene.svg'"),
        (("parse", "a cat {{cat sits_by dog}}"), "is no relation"),
        (("parse", PROMPT, "--parser", "spacey"), "Did you mean 'spacy'?"),
        (("generate", ""), "the prompt is empty"),
        (("generate", " \n "), "the prompt is empty"),
        (("generate", "a cat and a dog", "--strict"), "no relation found in 'a cat and a dog'"),
        (("generate", "a cat left of a dog and the dog left of the cat"), "cannot hold together"),
        (("generate", "a cat " + "and a bird " * 40 + "left of a dog"), "reads only 77 tokens"),
        (("generate", PROMPT, "-o", "/no/such/folder/out.png"), "cannot write '/no/such/folder/out.png'"),
        (("generate", "a cat opposite a dog"), "no relation plugin knows 'opposite'"),
        (("generate", "a [/b] cat and a [red] dog", "--strict"), "a [/b] cat and a [red] dog"),
        (("generate", PROMPT, "--steps", "0"), "'steps'"),
        (("generate", PROMPT, "--strength", "inf"), "'guidance.strength'"),
        (("generate", PROMPT, "--seed", "-1"), "seed must be between"),
        (("generate", PROMPT, "--trace", "."), "must end in .json"),
        (("bench", "run", "visor", "--sheet", "/no/such/sheet.png"), "cannot write '/no/such/sheet.png'"),
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


@pytest.mark.slow
def test_a_picture_is_drawn_again_from_what_it_carries(tmp_path: Path) -> None:
    """Also one that was chosen of two candidates, and one with other guidance."""
    drawn, again = tmp_path / "drawn.png", tmp_path / "again.png"
    options = ["--steps", "4", "--seed", "5", "--best-of", "2", "--set", "guidance.strength=1.5", "--quiet"]
    assert run(app, ["generate", PROMPT, "-o", str(drawn), *options]).exit_code == 0
    report = json.loads(run(app, ["replay", str(drawn), "-o", str(again), "--json"]).stdout)
    assert report["identical"] is True
    assert report["changed"] == {}
    assert read_metadata(again)["seed"] == read_metadata(drawn)["seed"]
    # What was drawn with other versions says so.
    metadata = read_metadata(drawn)
    metadata["versions"]["torch"] = "1.0"
    with Image.open(drawn) as picture:
        save_png(picture, drawn, metadata)
    assert "drawn with torch 1.0; here is " in run(app, ["replay", str(drawn), "-o", str(again)]).output
    assert run(app, ["replay", str(drawn), "-o", str(again)]).output.count("the same pixels") == 1
    # What is older than a key of the configuration too.
    assert report["absent"] == []
    del metadata["config"]["guidance"]["rescale"]
    with Image.open(drawn) as picture:
        save_png(picture, drawn, metadata)
    replayed = run(app, ["replay", str(drawn), "-o", str(again), "--json"])
    assert "warning: " in replayed.stderr
    assert "says nothing of guidance.rescale, which is newer: today's default is taken" in replayed.stderr
    assert json.loads(replayed.stdout)["absent"] == ["guidance.rescale"]
    plain = json.loads(run(app, ["replay", str(drawn), "-o", str(again), "--unguided", "--json"]).stdout)
    assert plain["identical"] is False


def test_pictures_that_cannot_be_replayed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    output = str(tmp_path / "o.png")
    assert "carries no spatialguide metadata" in fails(monkeypatch, capsys, "replay", str(tmp_path / "plain.png"), "-o", output)
    save_png(Image.new("RGB", (8, 8)), tmp_path / "old.png", {"spatialguide": "0.0.1", "seed": 3})
    assert "was made by spatialguide 0.0.1" in fails(monkeypatch, capsys, "replay", str(tmp_path / "old.png"), "-o", output)
    whole = (tmp_path / "old.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: whole.index(b"IDAT") + 6])
    assert "give a whole PNG" in fails(monkeypatch, capsys, "replay", str(tmp_path / "cut.png"), "-o", output)


def test_configurations_are_made_shown_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "guide.yaml"
    assert run(app, ["config", "init", str(path), "--preset", "paper"]).exit_code == 0
    shown = json.loads(run(app, ["config", "show", "--config", str(path), "--set", "steps=7", "--json"]).stdout)
    assert (shown["steps"], shown["guidance"]["strength"]) == (7, 1000)
    assert yaml.safe_load(run(app, ["config", "show"]).stdout) == make_config().model_dump(mode="json")
    assert json.loads(run(app, ["config", "schema"]).stdout)["properties"]["preset"]["enum"]
    assert json.loads(run(app, ["config", "validate", str(path), "--json"]).stdout)["valid"] is True
    assert "is there already" in fails(monkeypatch, capsys, "config", "init", str(path))
    for text, message in (
        ("backend: sd16", "sd16"),
        ("losses: {allignment: {}}", "allignment"),
        ("losses: {alignment: {marjin: 1}}", "Did you mean 'margin'?"),
        ("scheduler: Eular", "diffusers has no scheduler 'Eular'"),
        ("guidance: {strenght: 1}", "Did you mean 'strength'?"),
        ("backend_options: {nois: 1}", "backend 'tiny' has no option 'nois'. Did you mean 'noise'?"),
        ("{backend: sd15, backend_options: {modle: x}}", "Did you mean 'model'?"),
        ("{detector: owlvit, detector_options: {treshold: 1}}", "Did you mean 'threshold'?"),
        ("detector_options: {treshold: 1}", "detector 'tiny' has no option 'treshold'."),
    ):
        path.write_text(text, encoding="utf-8")
        assert message in fails(monkeypatch, capsys, "config", "validate", str(path))


@pytest.mark.slow
def test_unknown_objects_are_a_warning(tmp_path: Path) -> None:
    done = spatialguide("generate", "a walrus above a cat", "-o", "out.png", "--steps", "2", cwd=tmp_path, code=0)
    assert "'walrus' is not among the 98 things" in done.stderr


@pytest.mark.slow
def test_ids_that_are_no_text_pass_through_to_standard_output(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a cat", "id": "\\udc00"}\n{"prompt": "a dog \\ud800", "id": 2}\n')
    done = spatialguide("parse", "--input", "in.jsonl", "--output", "-", cwd=tmp_path, code=0)
    found, broken = (json.loads(line) for line in done.stdout.splitlines())
    assert (found["id"], len(found["objects"])) == ("\udc00", 1)
    assert (broken["id"], "no valid text" in broken["problem"]) == (2, True)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_the_page_ends_with_exit_code_0(tmp_path: Path) -> None:
    """As docs/cli.md has it: Ctrl+C is its only end."""
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "spatialguide", "serve", "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=heed_interrupts, **pipes) as server:
        try:
            assert server.stdout is not None
            assert "running at " in server.stdout.readline()
            server.send_signal(signal.SIGINT)
            _, said = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, "Traceback" in said) == (0, False)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    words = {"bash": "complete_bash", "zsh": "complete_zsh", "fish": "complete_fish"}
    for typed, expected in (("spatialguide gen", "generate"), ("spatialguide generate --comp", "--compare")):
        asked = {
            "_SPATIALGUIDE_COMPLETE": words[shell],
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
            "_TYPER_COMPLETE_ARGS": typed,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        # The installed command: completion goes by its name.
        command = Path(sys.executable).parent / "spatialguide"
        done = subprocess.run([command], capture_output=True, text=True, env={**os.environ, **asked})
        assert expected in done.stdout, done.stderr


def test_help_of_every_command() -> None:
    measuring = [["bench", name] for name in ("run", "report", "cost", "parser")]
    configuring = [["config", name] for name in ("init", "show", "schema", "validate")]
    for arguments in (
        [],
        ["generate"],
        ["replay"],
        ["parse"],
        ["plugins"],
        ["score", "visor"],
        ["calibrate"],
        *measuring,
        *configuring,
    ):
        result = run(app, [*arguments, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output
