"""The configured loss terms: built from plugins, asked of a scene, added up."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from spatialguide.config import TermConfig
from spatialguide.contracts import LossTerm
from spatialguide.errors import InvalidPluginError, MissingTermWarning
from spatialguide.guidance.constants import constant
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.guidance.weighted import Weighted, make
from spatialguide.registry import Registry
from spatialguide.scenes.planned import PlannedScene, Structure

#: Part of the layout's distance at which a relation counts as held, where that is less than the margin.
REACHED = 0.8
_TINY = 1e-3


@dataclass(frozen=True)
class Term(Weighted):
    """A loss term, its weight, and where it came from."""

    @property
    def term(self) -> LossTerm:
        """The plugin."""
        made: LossTerm = self.plugin
        return made

    def applies(self, scene: PlannedScene) -> bool:
        """Whether the term has anything to say of a scene.

        Raises:
            PluginError: it raises, or spoils what others see.
        """
        shown = self.seen(scene)
        with self._own_code(shown):
            return bool(self.term.applies(shown))

    def value(self, statistics: ObjectStatistics, scene: PlannedScene) -> Tensor:
        """The term's value for images of one structure, (images,), not weighted.

        Raises:
            PluginError: it raises. InvalidPluginError: it returns something else, or spoils what others see.
        """
        part, shown, like = statistics.at(self.term.levels), self.seen(scene), statistics.mass
        with self._own_code(shown, (part.mass, part.centroid, part.variance, part.distances, *part.maps, *part.attributes)):
            value = self.term(part, shown)
        tensor, shape = isinstance(value, Tensor), tuple(like.shape[:1])
        if not (tensor and value.shape == shape and value.is_floating_point() and value.device == like.device):
            got = f"a tensor of shape {tuple(value.shape)}, {value.dtype} on {value.device}" if tensor else repr(value)
            wanted = f"a tensor of shape {shape}, of real numbers, on {like.device}"
            raise InvalidPluginError(f"{self.where} returned {got}; it must return {wanted}")
        if like.requires_grad and not value.requires_grad:
            fault = "has no gradient and guides nothing: compute it from the statistics without detach() or item()"
            warnings.warn(f"{self.where} {fault}", MissingTermWarning, stacklevel=2)
        return value

    @contextmanager
    def _own_code(self, shown: Structure, tensors: Sequence[Tensor] = ()) -> Iterator[None]:
        """Around the term's own code: an error names the term, and so does what it spoils for others; waits for no device."""
        graded, asked, versions = torch.is_grad_enabled(), (shown.counts, shown.relations), [each._version for each in tensors]
        differentiable: list[Any] = [each for each in tensors if each.requires_grad]
        hooks = [each.register_hook(self._refuse_backward) for each in differentiable]
        fault = None
        try:
            yield
            if (shown.counts, shown.relations) != asked:
                fault = "changed the scene, which other terms read too: only read it"
        except (Exception, SystemExit) as error:
            wordless = isinstance(error, AttributeError) and "'Structure'" in str(error)
            advice = "set reads_words = True on a term that reads the scene's words" if wordless else None
            raise self.raised(error, advice) from error
        finally:
            for hook in hooks:
                hook.remove()
            if torch.is_grad_enabled() != graded:
                torch.set_grad_enabled(graded)
                fault = f"switched gradients {'off' if graded else 'on'} for everyone: use torch.no_grad() as a block"
        if [each._version for each in tensors] != versions:
            fault = "changed the statistics in place, which other terms read too: work on copies"
        if fault is not None:
            raise InvalidPluginError(f"{self.where} {fault}")

    def _refuse_backward(self, gradient: Tensor) -> None:
        fault = "differentiated the statistics itself, which frees what guidance needs: return the value, or detach first"
        raise InvalidPluginError(f"{self.where} {fault}")


def weighted_sum(
    terms: Sequence[Term], statistics: ObjectStatistics, scene: PlannedScene, average: Literal["levels", "layers"]
) -> tuple[Tensor, Tensor]:
    """L = sum_k weight_k * term_k, (images,), and each term's own value, (terms, images).

    Args:
        terms: those that apply to the scene.
        average: over what terms are means, see `GuidanceConfig.average`.
    """
    if not terms:
        return statistics.mass.new_zeros(statistics.mass.shape[0]), statistics.mass.new_zeros(0, statistics.mass.shape[0])
    weights = []
    for term in terms:
        share = sum(level in term.term.levels for level in statistics.levels) / len(statistics.levels)
        weights.append((term.weight * (share if average == "layers" else 1.0),))
    values = torch.stack([term.value(statistics, scene) for term in terms])
    return (values * constant(tuple(weights), values)).sum(dim=0), values


def unmet(distances: Tensor, reach: Sequence[float], margin: float | None) -> Tensor:
    """|| clip((m - d) / m, 0, 1) ||_2 over relations: how far each image is from showing them; 1 for no relations.

    All relations draw on one correction, and those that have nothing to do with each other pull at right angles: n relations
    need sqrt(n) times as much for each to have what it would have alone.

    Args:
        distances: d, (images, relations), signed.
        reach: those of the scene's layout. `REACHED` of it counts as m where that is less than the margin, as it is for many
            objects in a row. Relations that do not hold in it ("between two trees", zero at best) are not waited for.
        margin: m, in image sides; None counts every relation whole.
    """
    columns = [number for number, distance in enumerate(reach) if distance > 0]
    if not columns:
        return distances.new_ones(distances.shape[0])
    if margin is None:
        return distances.new_full(distances.shape[:1], len(columns) ** 0.5)
    wanted = constant(tuple(min(max(REACHED * reach[number], _TINY), margin) for number in columns), distances)
    shown = distances if len(columns) == len(reach) else distances[:, columns]
    shares: Tensor = torch.linalg.vector_norm((1 - shown / wanted).clamp(0, 1), dim=1)
    return shares


def make_terms(losses: Mapping[str, TermConfig], registry: Registry) -> tuple[Term, ...]:
    """Build the configured loss terms.

    Raises:
        UnknownPluginError, ConfigError, PluginError: see `weighted.make`.
    """
    return make(Term, "losses", losses, registry)
