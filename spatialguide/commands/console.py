"""What the command line prints: all of it goes through here, so that no text of a stranger's drives the terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

#: C0 but the line break, DEL, C1, marks and overrides of direction, other line breaks, halves of characters.
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """The text with its control characters as escapes, which mean the same in JSON and in quoted YAML."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def echo(text: str, err: bool = False) -> None:
    """Print text as it is, apart from control characters: JSON and YAML."""
    typer.echo(plain(text), err=err)


class _PlainConsole(Console):
    """A console on which only its own styles are control characters."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Escaped before it is measured, for tables."""
        return super().render_str(plain(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escaped whatever it was made of, for progress bars and what else brings texts of its own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))

    def on_broken_pipe(self) -> None:
        """Leave it to the entry point, which answers a SystemExit with a message."""
        raise BrokenPipeError


#: Of tables that go into a file or a pipe, which have no width of their own.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
out, err = _PlainConsole(emoji=False, width=_WIDTH), _PlainConsole(emoji=False, stderr=True)
