"""Words: the prompt cut into lower-case words and two kinds of breaks, each with its place in the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMA = ","
COLON = ":"
STOP = "."

_LETTER = r"[^\W_][\u0300-\u036f]*"
# A textual inversion, <cat-toy>: a word of its own.
_INVERSION = r"<\w[^\s<>]{0,79}>"
# What is not language in a prompt: tags of LoRAs and their like, weights, options of image services, lens settings.
_SKIPPED = r"""
    <(?i:lora|lyco|hypernet):[^<>\n]{1,80}>          # <lora:name:1>
  | <(?P<markup>\w{1,20})>(?=[^<]{0,80}</(?P=markup)>)  # <b>red</b>
  | <[^\w\s<>][^<>\n]{0,79}>                        # <|endoftext|>
  | (?<=[)\]}])\d*\.?\d+                            # (a cat)1.3
  | :\s*-?\d*\.?\d+(?=\s*[)\]}])                   # (cat:1.3)
  | (?<=[\w)\]}>])(?:\+{2,}|-{2,}|[+-])(?=[\s,.;)\]}]|$)   # cat++
  | ::-?\d*\.?\d+                                   # cat::2
  | (?<!\w)--no\s+(?:(?!--).)*                      # --no birds
  | (?<!\w)--[a-z]+(?:\s+(?!--)[\w.:/]*\d[\w.:/]*)?  # --ar 16:9
  | (?<!\w)[fƒ]/\d+(?:\.\d+)?                       # f/1.8
  | \b(?i:negative\ prompt)\s*:.*                  # what is not to be drawn
"""
_TOKEN = re.compile(
    rf"""
    (?P<stop> \n\s*\n | [.!?;。！？；]+ | \bBREAK\b | :: )
  | (?P<with> (?<!\w)w/ )
  | (?P<clitic> ['’]s(?!\w) )
  | (?P<word> {_INVERSION} | \d+(?:[.,/]\d+)+ | \d+(?=[^\W\d_]{{3}})
            | (?:{_LETTER})+(?:-(?:{_LETTER})+)*(?:['’](?!s(?!\w))(?:{_LETTER})+)* )
  | (?P<colon> : )
  | (?P<comma> [,|/，、：] | --+ | [–—] | (?<=\s)-(?=\s) )
  | (?P<and> [&+] )
    """,
    re.VERBOSE,
)
_SKIP = re.compile(_SKIPPED, re.VERBOSE | re.DOTALL)
_FIXED = {"stop": STOP, "comma": COMMA, "colon": COLON, "and": "and", "clitic": "'s", "with": "with"}


@dataclass(frozen=True)
class Word:
    """A word or textual inversion in lower case, or a break (COMMA, STOP); characters [start, end) of the prompt."""

    text: str
    start: int
    end: int


def is_inversion(word: str) -> bool:
    """Whether a word is a textual inversion, whose name says nothing of what it is."""
    return word.startswith("<")


def cut(prompt: str) -> list[Word]:
    """Words and breaks of a prompt. Brackets, quotes, emoji, prompt weights and other marks are passed over."""
    words: list[Word] = []
    # Blanks of the same length: offsets stay those of the prompt.
    plain = _SKIP.sub(_blank, prompt)
    for match in _TOKEN.finditer(plain):
        if match.lastgroup == "word":
            words.append(Word(match.group().lower(), match.start(), match.end()))
        elif match.lastgroup is not None:
            words.append(Word(_FIXED[match.lastgroup], match.start(), match.end()))
    return words


def _blank(match: re.Match[str]) -> str:
    """Blanks in place of what is skipped; "::2" also parts what stands before it from what follows."""
    length = len(match.group())
    return ";" + " " * (length - 1) if match.group().startswith("::") else " " * length
