"""Hostile and clumsy input on the command line: one line, no escape sequences, nothing half-written."""

from __future__ import annotations

import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress
from rich.table import Table

from spatialguide.commands import main as commands
from spatialguide.commands.console import err, out, plain
from spatialguide.errors import PictureError

PROMPT = "a cat to the left of a dog"
EVIL = "\x1b]0;owned\x07\x1b[31m \x7f \x9b31m \u202e \r"

Capture = pytest.CaptureFixture[str]


def call(monkeypatch: pytest.MonkeyPatch, capsys: Capture, *arguments: str) -> tuple[Any, str, str]:
    """Exit code, standard output and standard error of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["spatialguide", *arguments])
    with pytest.raises(SystemExit) as stop:
        commands.main()
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return stop.value.code, said.out, said.err


def refused(monkeypatch: pytest.MonkeyPatch, capsys: Capture, *arguments: str, code: int = 1) -> str:
    """The one line that a command is refused with."""
    found, output, errors = call(monkeypatch, capsys, *arguments)
    assert (found, output) == (code, ""), errors
    (line,) = errors.strip().splitlines()
    assert line == plain(line)
    return line


def test_plain_shows_control_characters_as_text() -> None:
    assert plain("a\nb \x1b[0m\x7f\x9b\u202e\u2066") == "a\nb \\u001b[0m\\u007f\\u009b\\u202e\\u2066"
    assert json.loads(plain(json.dumps({"a": EVIL}, ensure_ascii=False))) == {"a": EVIL}


def test_consoles_print_no_control_characters(capsys: Capture) -> None:
    table = Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    out.print(table, EVIL)
    with Progress(console=err) as progress:
        progress.add_task(EVIL, total=1)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert text.count("owned") > 0
        assert text.replace("\n", "") == plain(text).replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("parse", f"a {EVIL} cat left of a dog"), 0),
        (("parse", f"a {EVIL} cat left of a dog", "--json"), 0),
        (("parse", f"a cat and a dog {{{{cat left_of {EVIL}}}}}"), 1),
        (("parse", PROMPT, "--parser", EVIL), 1),
        (("config", "show", "--set", f"backend={json.dumps(EVIL)}"), 0),
        (("config", "show", "--set", f"{EVIL}=1"), 1),
        (("config", "show", "--set", EVIL), 2),
        (("config", "show", "--config", EVIL), 1),
        (("generate", PROMPT, "--steps", EVIL), 2),
        ((f"--{EVIL}",), 2),
        ((EVIL,), 2),
        (("new-plugin", EVIL), 1),
    ],
)
def test_no_text_drives_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: tuple[str, ...], code: int
) -> None:
    found, *said = call(monkeypatch, capsys, *arguments)
    assert found == code
    for text in said:
        assert text == plain(text)


@pytest.mark.parametrize("fault", [ZeroDivisionError("a\nb"), RecursionError("x"), MemoryError(), SystemExit(0)])
def test_what_nobody_foresaw_is_one_line_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, fault: BaseException
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(commands, "settings", fail)
    line = refused(monkeypatch, capsys, "parse", PROMPT, code=2)
    assert f"unexpected {type(fault).__name__}" in line
    assert "--debug" in line
    monkeypatch.setattr(sys, "argv", ["spatialguide", "parse", PROMPT, "--debug"])
    with pytest.raises(SystemExit) as stop:
        commands.main()
    assert stop.value.code == 2
    assert "Traceback" in capsys.readouterr().err


def test_pictures_that_fail_leave_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise PictureError("no memory for it")

    monkeypatch.setattr("spatialguide.pictures.diagram.scene_svg", fail)
    folder = tmp_path / "new" / "pictures"
    arguments = ("generate", PROMPT, "--steps", "1", "-q", "-o", str(tmp_path / "out.png"), "--pictures", str(folder))
    assert "no memory for it" in refused(monkeypatch, capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", PROMPT, "-o", "x" * 300 + ".png"),
        ("generate", PROMPT, "-o", "/dev/full"),
        ("generate", PROMPT, "--steps", "1001"),
        ("generate", "a" * 120_000),
        ("generate", PROMPT, "--scene", "/dev/zero"),
        ("generate", PROMPT, "--config", "/dev/zero"),
        ("config", "init", "x" * 300),
        ("config", "show", "--set", "steps=" + "9" * 4000),
        ("config", "show", "--set", f"{'x' * 5000}=1"),
        ("parse", PROMPT, "--svg", "x" * 300),
        ("parse", PROMPT, "--scene", "x" * 300),
        ("replay", "x" * 300),
        ("replay", "/dev/zero"),
        ("new-plugin", "x" * 300),
        ("score", "visor", "--detections", "deep.json"),
        ("config", "validate", "deep.json"),
        ("parse", "--scene", "deep.json"),
    ],
)
def test_clumsy_input_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 50_000)
    code = 2 if "steps=" in arguments[-1] else 1
    found, output, errors = call(monkeypatch, capsys, *arguments)
    assert (found, output) == (code, "")
    assert code == 2 or len(errors.strip().splitlines()) == 1
    assert "unexpected" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["deep.json"]


def test_a_terminal_without_letters_beyond_ascii_shows_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["spatialguide", "parse", "a caf\u00e9 left of a dog"])
    with pytest.raises(SystemExit) as stop:
        commands.main()
    assert stop.value.code == 0
    stream.flush()
    assert b"caf\\xe9" in stream.buffer.getvalue()  # type: ignore[attr-defined]
