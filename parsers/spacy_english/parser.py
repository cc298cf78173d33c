"""The parser: one road from the prompt to the scene."""

from __future__ import annotations

from collections.abc import Mapping

from spatialguide.contracts import Relation
from spatialguide.errors import PromptError
from spatialguide.scene import Scene
from spatialguide_parsers.spacy_english.attachment import Attachment
from spatialguide_parsers.spacy_english.elements import elements
from spatialguide_parsers.spacy_english.model import shared_model
from spatialguide_parsers.spacy_english.phrases import Phrases
from spatialguide_parsers.spacy_english.words import cut


class SpacyParser:
    """Parses English prompts with spaCy's tagger and a grammar of spatial phrases.

    Args:
        relations: relation plugins by predicate name; the parser looks for their phrases and for no others.
    """

    def __init__(self, relations: Mapping[str, Relation]) -> None:
        self._relations = relations
        self._model = shared_model()
        self._phrases = Phrases(relations)

    def __call__(self, prompt: str) -> Scene:
        """Parse one prompt.

        Raises:
            PromptError: the prompt is empty or not a string.
        """
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt must be a str, not {type(prompt).__name__}")
        if not prompt.strip():
            raise PromptError("the prompt is empty: say what to draw, such as 'a cat to the left of a dog'")
        attachment = Attachment(self._relations)
        attachment.read(elements(cut(prompt), self._phrases, self._model))
        return attachment.scene(prompt)
