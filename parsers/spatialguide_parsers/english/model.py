"""The language model: spaCy's tagger, and the word lists of its lemmatizer as a dictionary of English."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from spatialguide.errors import PluginError
from spatialguide_parsers.english.vocabulary import SINGULAR_IN_S

OFFICIAL = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm", "en_core_web_trf")
#: Tagger and lemmatizer of en_core_web_sm 3.8.0, as Explosion publishes them, with their licences.
SHIPPED = Path(__file__).parent / "weights"
#: The tokenizer takes half of the loading time, and words are cut before the tagger sees them.
_UNUSED = ["ner", "senter", "parser", "attribute_ruler", "tokenizer"]
_NO_TOKENIZER = "spatialguide.no_tokenizer.v1"
_BATCH = 64
_IRREGULAR = {"people": ["person"], "women": ["woman"], "taxis": ["taxi"], "lenses": ["lens"], "saris": ["sari"]}


class Model:
    """Tags words and knows which are nouns, verbs and adjectives.

    Args:
        nlp: an English spaCy pipeline with a tagger and the rule lemmatizer.
    """

    def __init__(self, nlp: Any) -> None:
        tables = nlp.get_pipe("lemmatizer").lookups
        index = tables.get_table("lemma_index")
        self._nlp = nlp
        self._known = {kind: frozenset(index[kind]) for kind in ("noun", "verb", "adj", "adv")}
        self._irregular: Mapping[str, Sequence[str]] = {**tables.get_table("lemma_exc")["noun"], **_IRREGULAR}
        self._verb_forms: Mapping[str, Sequence[str]] = tables.get_table("lemma_exc")["verb"]
        self._endings: Sequence[tuple[str, str]] = tables.get_table("lemma_rules")["noun"]

    def tags(self, texts: Iterable[Sequence[str]]) -> Iterator[list[str]]:
        """Penn Treebank tags of many texts: for each its tags, one per word."""
        from spacy.tokens import Doc

        docs = (Doc(self._nlp.vocab, words=list(words)) for words in texts)
        for doc in self._nlp.pipe(docs, disable=["lemmatizer"], batch_size=_BATCH):
            yield [token.tag_ for token in doc]

    def is_noun(self, word: str) -> bool:
        """Whether the dictionary has the word, or its singular, as a noun."""
        return word in self._known["noun"] or self.singular(word) in self._known["noun"]

    def is_adjective(self, word: str) -> bool:
        """Whether the dictionary has the word as an adjective."""
        return word in self._known["adj"]

    def is_adverb(self, word: str) -> bool:
        """Whether the dictionary has the word as an adverb."""
        return word in self._known["adv"]

    def is_verb(self, word: str) -> bool:
        """Whether the dictionary has the word, or its stem, as a verb."""
        stem = re.sub("(?<=..)(?:ing|ed|es|s)$", "", word)
        stems = (word, stem, f"{stem}e", f"{stem[:-1]}y", stem[:-1])
        return word in self._verb_forms or any(each in self._known["verb"] for each in stems)

    def is_third_person(self, word: str) -> bool:
        """Whether the word can be a verb's form in -s ("whistles")."""
        return word.endswith("s") and self.singular(word) != word and self.is_verb(word)

    def singular(self, noun: str) -> str:
        """Singular of a noun; a noun that is singular already, or named by its plural ("scissors"), stays."""
        if noun in self._irregular:
            return self._irregular[noun][0]
        if noun.endswith("men") and f"{noun[:-3]}man" in self._known["noun"]:
            return f"{noun[:-3]}man"
        if noun in SINGULAR_IN_S or not noun.endswith("s") or noun.endswith(("ss", "us", "is")) or len(noun) < 4:
            return noun
        stems = [noun.removesuffix(old) + new for old, new in self._endings if noun.endswith(old)]
        nouns = self._known["noun"]
        return next((stem for stem in stems if stem in nouns), noun if noun in nouns else noun[:-1])


@lru_cache(maxsize=1)
def shared_model() -> Model:
    """The model of this process, see `load`."""
    return Model(load())


def load() -> Any:
    """An official English package of the user's if one is installed and loads, else the files that ship with the parser.

    Raises:
        PluginError: there is neither, since whoever packaged spatialguide left the files out.
    """
    import spacy
    from spacy.tokenizer import Tokenizer

    spacy.registry.tokenizers(_NO_TOKENIZER, func=lambda: lambda nlp: Tokenizer(nlp.vocab))
    options: dict[str, Any] = {"exclude": _UNUSED, "config": {"nlp": {"tokenizer": {"@tokenizers": _NO_TOKENIZER}}}}
    for name in filter(spacy.util.is_package, OFFICIAL):
        try:
            return spacy.load(name, **options)
        except (ImportError, OSError, ValueError) as error:  # made for another spaCy, or without what it needs
            reason = str(error).partition("\n")[0]
            warnings.warn(f"the installed {name} does not load ({reason}); another English model is used", stacklevel=2)
    if not SHIPPED.is_dir():
        raise PluginError(f"no English model: {SHIPPED} is missing; `python -m spacy download en_core_web_sm` installs one")
    return spacy.load(SHIPPED, **options)
