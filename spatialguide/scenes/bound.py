"""A relation of a scene, bound to the predicate that a plugin registered for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spatialguide.contracts import Predicate
from spatialguide.errors import PluginError


@dataclass(frozen=True)
class BoundRelation:
    """subject predicate grounds: `scenes.scene.Relation` with its plugin. Indices are those of the scene's objects."""

    subject: int
    name: str
    grounds: tuple[int, ...]
    predicate: Predicate = field(compare=False)

    def distance(self, centres: Any) -> Any:
        """Signed distance in image sides, positive where the relation holds.

        Args:
            centres: (..., objects, 2), x then y; a tensor or a numpy array.

        Raises:
            PluginError: the predicate raises.
        """
        try:
            return self.predicate.distance(centres[..., self.subject, :], *(centres[..., i, :] for i in self.grounds))
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"relation '{self.name}' raised {type(error).__name__}: {error}; repair or uninstall it"
            ) from error
