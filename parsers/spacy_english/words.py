"""Words: the prompt cut into lower-case words and two kinds of breaks, each with its place in the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMA = ","
STOP = "."

_LETTER = r"[^\W_][\u0300-\u036f]*"
_TOKEN = re.compile(
    rf"""
    (?P<skip> <[^<>\n]{{1,80}}> | :\d+(?:\.\d+)?(?=\s*[)\]]) )       # <lora:name:1> and the weight in (cat:1.3)
  | (?P<stop> \n\s*\n | [.!?;。！？；]+ )
  | (?P<clitic> ['’]s(?!\w) )
  | (?P<word> \d+(?:[.,/]\d+)+ | \d+(?=[^\W\d_]{{3}})
            | (?:{_LETTER})+(?:-(?:{_LETTER})+)*(?:['’](?!s(?!\w))(?:{_LETTER})+)* )
  | (?P<comma> [,:|/，、：] | --+ | [–—] | (?<=\s)-(?=\s) )
  | (?P<and> [&+] )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Word:
    """One word in lower case, or a break (COMMA, STOP); `start` and `end` are character offsets into the prompt."""

    text: str
    start: int
    end: int


def cut(prompt: str) -> list[Word]:
    """Words and breaks of a prompt. Brackets, quotes, emoji, prompt weights and other marks are passed over."""
    words: list[Word] = []
    for match in _TOKEN.finditer(prompt):
        fixed = {"stop": STOP, "comma": COMMA, "and": "and", "clitic": "'s"}
        if match.lastgroup == "word":
            words.append(Word(match.group().lower(), match.start(), match.end()))
        elif match.lastgroup in fixed:
            words.append(Word(fixed[match.lastgroup], match.start(), match.end()))
    return words
