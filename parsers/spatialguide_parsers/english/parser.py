"""The parser: one road from the prompt to the scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import tee

from spatialguide.contracts import Predicate
from spatialguide.errors import ConfigError, PromptError
from spatialguide.scenes.scene import Scene
from spatialguide_parsers.english.attachment import Attachment
from spatialguide_parsers.english.elements import elements
from spatialguide_parsers.english.model import shared_model
from spatialguide_parsers.english.phrases import Phrases
from spatialguide_parsers.english.tokens import Piece, pieces, tagged
from spatialguide_parsers.english.words import cut


class SpacyParser:
    """Parses English prompts with spaCy's tagger and a grammar of spatial phrases.

    Args:
        relations: relation plugins by predicate name; the parser looks for their phrases and for no others.
        min_confidence: relations that it is less sure of are left out, and reported; 0 keeps all.

    Raises:
        ConfigError: min_confidence is no number from 0 to 1.
    """

    def __init__(self, relations: Mapping[str, Predicate], min_confidence: float = 0.0) -> None:
        if isinstance(min_confidence, bool) or not isinstance(min_confidence, (int, float)) or not 0 <= min_confidence <= 1:
            raise ConfigError(f"parser_options.min_confidence must be a number from 0 to 1, not {min_confidence!r}")
        self._relations, self._least = relations, min_confidence
        self._model = shared_model()
        self._phrases = Phrases(relations, self._model)

    def __call__(self, prompt: str) -> Scene:
        """Parse one prompt.

        Raises:
            PromptError: the prompt is empty or not a string.
        """
        return next(self.pipe([prompt]))

    def pipe(self, prompts: Iterable[str]) -> Iterator[Scene]:
        """Parse many prompts, in order; tagging them together is faster than one by one.

        Raises:
            PromptError: a prompt is empty or not a string.
        """
        read, waiting = tee(self._pieces(prompt) for prompt in prompts)
        tags = self._model.tags([piece.masked for piece in cuts] for _, cuts in read)
        for (prompt, cuts), found in zip(waiting, tags, strict=True):
            attachment = Attachment(self._relations, self._least)
            attachment.read(elements(tagged(cuts, found, self._model), self._model))
            yield attachment.scene(prompt)

    def _pieces(self, prompt: str) -> tuple[str, list[Piece]]:
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt must be a str, not {type(prompt).__name__}")
        if not prompt.strip():
            raise PromptError("the prompt is empty: say what to draw, such as 'a cat to the left of a dog'")
        try:
            prompt.encode("utf-8")
        except UnicodeEncodeError as error:
            fault = f"{error.reason} at character {error.start}"
            raise PromptError(f"the prompt is no valid text: {fault}; write it as UTF-8") from error
        words = cut(prompt)
        return prompt, pieces(words, self._phrases.find(words), self._model)
