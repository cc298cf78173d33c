"""YAML and JSON of strangers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from spatialguide.documents import DocumentError, parse_json, parse_yaml, read_text

BOMB = "a: &a [x, x, x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a: 1\na: 2", "the key 'a' is there twice"),
        ("a: &x [*x]", "has an alias"),
        (BOMB, "line 2 has an alias"),
        ("a: !!int abc", "invalid literal"),
        ("a: !!timestamp 2021-13-45", "could not determine a constructor"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: !!binary aaaa", "could not determine a constructor"),
        ("a: " + "9" * 5000, "limit"),
        ("a: 0x" + "f" * 5000, "more than 64 bits"),
        ("[" * 3000 + "]" * 3000, "nested deeper"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        ("- " * 3000, "nested deeper"),
        ("#" * 300_000, "longer than 200,000 characters"),
        ('a: "\\ud800"', "half of a character"),
        ("a: [", "expected the node content"),
        ("{[a]: 1}", "unhashable"),
    ],
)
def test_yaml_is_refused_in_one_way(text: str, cause: str) -> None:
    with pytest.raises(DocumentError, match=cause):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("[" * 100_000, "nested deeper"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        ("9" * 5000, "limit"),
        ("9" * 50, "more than 64 bits"),
        ('"\\ud800"', "half of a character"),
        ("{", "Expecting"),
    ],
)
def test_json_is_refused_in_one_way(text: str, cause: str) -> None:
    with pytest.raises(DocumentError, match=cause):
        parse_json(text)


def test_values_are_what_they_look_like() -> None:
    assert parse_yaml("{a: 1e3, b: 1.5, c: on, d: 2021-13-45, e: null, f: [1, -2]}") == {
        "a": 1000.0,
        "b": 1.5,
        "c": True,
        "d": "2021-13-45",
        "e": None,
        "f": [1, -2],
    }
    assert parse_yaml("[on, true, 1e3]", words=True) == ["on", "true", 1000.0]
    assert parse_json('{"a": [1, 2.5]}') == {"a": [1, 2.5]}


def test_files_are_read_to_a_limit(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="larger than"):
        read_text("/dev/zero")
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(DocumentError, match="no UTF-8"):
        read_text(tmp_path / "a")
    with pytest.raises(DocumentError, match="NUL"):
        read_text("a\0b")
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa: 1")
    assert parse_yaml(read_text(tmp_path / "a")) == {"a": 1}
