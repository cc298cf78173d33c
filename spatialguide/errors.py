"""Named errors and warnings. Every message names the cause and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SpatialGuideError(Exception):
    """Base of every error that spatialguide raises on purpose."""


class PromptError(SpatialGuideError):
    """The prompt cannot be used: empty, or not text."""


class SceneError(SpatialGuideError):
    """A scene is not consistent: bad spans, bad indices."""


class ContradictionError(SceneError):
    """Relations that cannot hold together, such as A left of B and B left of A."""


class NoRelationError(SceneError):
    """Strict mode: nothing in the prompt can be guided."""


class BindingError(SpatialGuideError):
    """An object has no token that the text encoder sees."""


class ConfigError(SpatialGuideError):
    """A configuration file or keyword is wrong."""


class EvaluationError(SpatialGuideError):
    """Results cannot be scored: a file of another form, or nothing in it."""


class BatchError(SpatialGuideError):
    """A run of many requests cannot be read, started or taken up again."""


class OutputError(SpatialGuideError):
    """A result cannot be written where it was asked to go."""


class UntrustedError(SpatialGuideError):
    """A picture asks for more than a stranger's may: a model, or files, of its own."""


class PictureError(SpatialGuideError):
    """A picture cannot be made: the generation was not watched, or matplotlib is missing."""


class UnsupportedPipelineError(SpatialGuideError):
    """The pipeline cannot be guided."""


class PluginError(SpatialGuideError):
    """Base of everything that a plugin can do wrong."""


class PluginImportError(PluginError):
    """A plugin's entry point could not be imported."""


class DuplicatePluginError(PluginError):
    """Two plugins registered the same name."""


class InvalidPluginError(PluginError):
    """A plugin registered or returned something that its contract does not allow."""


class UnknownPluginError(PluginError):
    """No plugin of this kind has the name."""


class UnguidedWarning(UserWarning):
    """The image is generated without guidance; the message says why."""


class MissingTermWarning(UserWarning):
    """A default loss term is not installed, or a term has no gradient, so that it guides nothing."""


class UntestedModelWarning(UserWarning):
    """A denoiser of a kind that was not tried."""


class ObjectWarning(UserWarning):
    """An object of the prompt cannot be drawn or told apart by this model."""


class ParserWarning(UserWarning):
    """A parser's own reading was not used; the message says why, and what is used instead."""


class PictureWarning(UserWarning):
    """One of several pictures was left out; the message says why."""


class ReplayWarning(UserWarning):
    """A picture is drawn again with settings that it does not carry."""


class RunWarning(UserWarning):
    """A run is taken up in surroundings that may change its figures."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' with the nearest known name, or the list of what is known."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(names)}." if names else ""
