"""Files are written whole or not at all, and only where a file belongs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spatialguide.commands import new_plugin as scaffold
from spatialguide.errors import OutputError
from spatialguide.files import filled, place_of, write_text
from spatialguide.pictures.png import check_writable


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "target")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "target").read_text() == "text"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "to_pipe.png").symlink_to(tmp_path / "pipe.png")
    paths = [tmp_path / name for name in ("pipe.png", "to_pipe.png", "loop.png", f"{'x' * 300}.png", "a\0.png")]
    for path in (*paths, Path("/dev/null"), tmp_path):
        with pytest.raises(OutputError, match="cannot write"):
            write_text(path, "text")
        with pytest.raises(OutputError, match="cannot write"):
            place_of(path) if path != paths[3] else check_writable(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop.png", "pipe.png", "to_pipe.png"]


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "pictures"

    def fail() -> None:
        with filled(folder) as draft:
            write_text(draft / "a", "text")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with filled(folder) as draft:
        (draft / "inner").mkdir()
        write_text(draft / "inner" / "a", "text")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "new",
        "new/pictures",
        "new/pictures/inner",
        "new/pictures/inner/a",
    ]
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match="cannot write into"), filled(place):
            pass


def test_a_plugin_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def full(path: Path, text: str) -> None:
        if written:
            raise OutputError("No space left on device")
        written.append(path)
        write_text(path, text)

    monkeypatch.setattr(scaffold, "write_text", full)
    with pytest.raises(OutputError, match="No space left"):
        scaffold.new_plugin("my-other-loss", "loss", tmp_path / "new")
    assert len(written) == 1
    assert list(tmp_path.iterdir()) == []
    for name in ("x" * 300, "my-loss"):
        with pytest.raises(OutputError):
            scaffold.new_plugin(name, "loss", tmp_path / ("x" * 300))
