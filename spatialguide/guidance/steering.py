"""The configured steerings: built from plugins, asked of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from spatialguide.config import TermConfig
from spatialguide.errors import InvalidPluginError
from spatialguide.guidance.weighted import Weighted, make
from spatialguide.registry import Registry
from spatialguide.scenes.planned import PlannedScene


@dataclass(frozen=True)
class Steer(Weighted):
    """A steering, its weight, and where it came from."""

    def applies(self, scene: PlannedScene) -> bool:
        """Whether it has anything to say of a scene.

        Raises:
            PluginError: it raises.
        """
        try:
            return bool(self.plugin.applies(self.seen(scene)))
        except (Exception, SystemExit) as error:
            raise self.raised(error) from error

    def active(self, progress: float) -> bool:
        """Whether it steers at this part of the sampling."""
        start, stop = self.plugin.window
        return bool(self.weight != 0 and start <= progress < stop)

    def bias(self, places: Tensor, scene: PlannedScene, size: tuple[int, int]) -> Tensor:
        """See `Steering`, weighted.

        Raises:
            PluginError: it raises. InvalidPluginError: it returns something else than it must.
        """
        try:
            bias = self.plugin(places, self.seen(scene), size)
        except (Exception, SystemExit) as error:
            raise self.raised(error) from error
        wanted = (len(places), places.shape[1], *size)
        if not isinstance(bias, Tensor) or bias.shape not in (wanted, (1, *wanted[1:])) or bias.device != places.device:
            got = f"a tensor of shape {tuple(bias.shape)} on {bias.device}" if isinstance(bias, Tensor) else repr(bias)
            raise InvalidPluginError(f"{self.where} returned {got}; it must return one of shape {wanted} on {places.device}")
        return self.weight * bias


def make_steers(steerings: Mapping[str, TermConfig], registry: Registry) -> tuple[Steer, ...]:
    """Build the configured steerings.

    Raises:
        UnknownPluginError, ConfigError, PluginError: see `weighted.make`.
    """
    return make(Steer, "steerings", steerings, registry)
