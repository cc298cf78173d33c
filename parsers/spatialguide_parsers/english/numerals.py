"""Numerals: the value of number words."""

from __future__ import annotations

from collections.abc import Sequence

from spatialguide.scenes.scene import MAX_COUNT

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES = (
    {word: value for value, word in enumerate(_ONES)}
    | {word: 10 * value for value, word in enumerate(_TENS, start=2)}
    | {"single": 1, "both": 2, "dozen": 12, "hundred": 100, "thousand": 1000}
)
_FACTORS = ("dozen", "hundred", "thousand")
#: Words that a numeral is made of.
NUMERALS = frozenset(_VALUES) - {"zero"} | {f"{ten}-{one}" for ten in _TENS for one in _ONES[1:10]}


def value(words: Sequence[str]) -> int | None:
    """Value of number words and digits: 42 for "forty-two", 200 for "two hundred"; None for no number, or one past 10,000."""
    total = 0
    for word in words:
        parts = word.split("-")
        if word.isdecimal() and len(word) < 6:
            total += int(word)
        elif word in _FACTORS:
            total = (total or 1) * _VALUES[word]
        elif all(part in _VALUES for part in parts):
            total += sum(_VALUES[part] for part in parts)
        else:
            return None
    return total if 0 < total <= MAX_COUNT else None
