"""YAML and JSON that a stranger may have written: read within limits, with one kind of error."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

#: Of a configuration or a scene; PyYAML takes a second for so many.
MAX_CHARACTERS = 200_000
MAX_DEPTH = 32
#: Whole numbers must be smaller.
MAX_WHOLE = 2**63
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")


class DocumentError(ValueError):
    """Text is no YAML or JSON that can be read; the message says why."""


class _Loader(yaml.SafeLoader):
    """YAML of JSON's kinds of values: no dates, no aliases, no key twice."""

    yaml_constructors = {  # noqa: RUF012  # PyYAML's own way
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix("tag:yaml.org,2002:") in _KINDS
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases: a few lines of them stand for gigabytes, or for themselves."""
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise DocumentError(f"line {line} has an alias: write out what it stands for")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse keys that are there twice, of which YAML would take the last."""
        _refuse_twice([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


# "1e3" is a number in JSON and in YAML 1.2.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+\Z"), list("-+0123456789"))


class _WordLoader(_Loader):
    """Without words for true and false: "on" is a relation."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":bool")]
        for first, resolvers in _Loader.yaml_implicit_resolvers.items()
    }


def read_text(path: str | Path, limit: int = MAX_CHARACTERS) -> str:
    """A file's text, which may be a pipe or a device.

    Raises:
        OSError: it cannot be read.
        DocumentError: it is no UTF-8, or larger than `limit` bytes.
    """
    if "\0" in str(path):
        raise DocumentError("a path holds no NUL")
    with open(path, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise DocumentError(f"it is larger than {limit:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"it is no UTF-8: {error.reason} at byte {error.start}") from error


def parse_yaml(text: str, words: bool = False) -> Any:
    """The value of a YAML document.

    Args:
        words: read "on", "yes", "true" and the like as words.

    Raises:
        DocumentError: it is no YAML, has aliases, tags, a key twice or text that is no text, or is too long, too deep, or has
            whole numbers of more than 64 bits.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"it is longer than {MAX_CHARACTERS:,} characters")
    try:
        return _checked(yaml.load(text, _WordLoader if words else _Loader))
    except DocumentError:
        raise
    except Exception as error:  # each kind of value has its own
        raise DocumentError(_cause(error)) from error


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON document; as long as it likes.

    Raises:
        DocumentError: as of `parse_yaml`.
    """
    try:
        return _checked(json.loads(text, object_pairs_hook=_unique))
    except DocumentError:
        raise
    except (ValueError, RecursionError) as error:
        raise DocumentError(_cause(error)) from error


def _cause(error: Exception) -> str:
    return f"it is nested deeper than {MAX_DEPTH} levels" if isinstance(error, RecursionError) else " ".join(str(error).split())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice([key for key, _ in pairs])
    return dict(pairs)


def _refuse_twice(keys: list[str]) -> None:
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DocumentError(f"the key '{twice}' is there twice: leave out one")


def _checked(value: Any, depth: int = 0) -> Any:
    """The value, within limits all through."""
    if depth > MAX_DEPTH:
        raise DocumentError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, each in value.items():
            _checked(key, depth + 1)
            _checked(each, depth + 1)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _checked(each, depth + 1)
    elif isinstance(value, int) and abs(value) >= MAX_WHOLE:
        raise DocumentError("a whole number has more than 64 bits")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DocumentError("a text holds half of a character") from error
    return value
