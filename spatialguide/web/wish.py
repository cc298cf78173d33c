"""What a visitor asks of the page, and what comes of it: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spatialguide.config import DEFAULT_PRESET, make_config
from spatialguide.errors import SpatialGuideError
from spatialguide.result import Result
from spatialguide.scenes.scene import Scene


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for. prompt is in characters; queue counts waiting drawings of all visitors.

    side: in pixels; None is 1.5 times the model's usual side.
    seconds: of one drawing, both images together; loading the model does not count.
    """

    steps: int = 100
    side: int | None = None
    prompt: int = 1000
    queue: int = 16
    seconds: float = 600


class StoppedError(SpatialGuideError):
    """A drawing was ended before it was done."""


@dataclass(frozen=True)
class Wish:
    """What the page's controls say. relations: one a line; None takes them from the prompt. side: None is the model's usual.

    method: `guidance.method`; None is the preset's.
    """

    prompt: str
    relations: str | None = None
    preset: str = DEFAULT_PRESET
    backend: str = field(default_factory=lambda: make_config().backend)
    terms: tuple[str, ...] | None = None
    strength: float | None = None
    steps: int | None = None
    side: int | None = None
    seed: int = 0
    method: str | None = None


@dataclass(frozen=True)
class Reading:
    """What the prompt and the relations beside it mean, see `Studio.follow`.

    said: the prompt's own relations, one a line. shown: the ones that count, `said` or the visitor's.
    own: the visitor's, kept while they do not fit the prompt; None where there are none.
    scene: what `shown` asks for; None where it cannot be drawn, for which `fault` says why.
    aside: why the visitor's relations are not the shown ones.
    """

    prompt: str = ""
    said: str = ""
    shown: str = ""
    own: str | None = None
    scene: Scene | None = None
    fault: str = ""
    aside: str = ""

    def shows(self, relations: str) -> bool:
        """Whether these relations are the shown ones, blanks aside."""
        return plain(relations) == plain(self.shown)


@dataclass(frozen=True)
class Drawing:
    """Both images of one wish, watched at every step; and the code and the configuration that make the guided one.

    notes: what was not guided or cannot be drawn, one line each.
    """

    wish: Wish
    unguided: Result
    guided: Result
    code: str
    config: str
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps were watched; 0 where the prompt names no object."""
        return len(self.guided.trace.seen(0))


@dataclass(frozen=True)
class Try:
    """A drawing of this visit, as far as it is kept. number: counted from 1. thumbnail: the guided image as an address."""

    number: int
    wish: Wish
    thumbnail: str


def plain(lines: str) -> list[str]:
    """Lines without blanks at their ends and doubled ones within; empty ones are left out."""
    return [" ".join(line.split()) for line in lines.splitlines() if line.strip()]


def relation_lines(scene: Scene) -> str:
    """The scene's relations as people write them, one a line."""
    return "\n".join(scene.sentence(edge) for edge in scene.relations)


def marked(prompt: str, relations: Sequence[str]) -> str:
    """A prompt with relations as marks."""
    return f"{prompt} {{{{{'; '.join(relations)}}}}}"
