"""A scene planned once: checked, bound to its predicates, laid out. It travels whole from the prompt to the loss."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, TypeVar

from spatialguide.contracts import Predicate
from spatialguide.errors import ContradictionError, SceneError, SpatialGuideError, UnknownPluginError, suggestion
from spatialguide.scenes.bound import BoundRelation
from spatialguide.scenes.checks import check_axes
from spatialguide.scenes.layout import Box, apart, boxes, centres_of
from spatialguide.scenes.scene import Relation, Scene

T = TypeVar("T")
#: Of a scene; the search for what cannot hold together takes quadratic time in them. Text encoders read a tenth of that.
MAX_RELATIONS = 64


@dataclass(frozen=True)
class Structure:
    """A scene without its words: all that terms read, unless they say that they read words.

    Images of all scenes of one structure are scored as one tensor.

    counts: how often each object is asked for; None for a plural without a number.
    """

    counts: tuple[int | None, ...]
    relations: tuple[BoundRelation, ...]

    @cached_property
    def _remembered(self) -> dict[Hashable, Any]:
        return {}

    def remember(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once: for what a term derives from the structure."""
        if key not in self._remembered:
            self._remembered[key] = make()
        found: T = self._remembered[key]
        return found

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """A box for every object in which the relations hold, see `scenes.layout.boxes`."""
        return boxes(self.relations, len(self.counts))

    @cached_property
    def middles(self) -> tuple[tuple[float, float], ...]:
        """(x, y) of the middle of each of the `boxes`."""
        return tuple((float(x), float(y)) for x, y in centres_of(self.boxes))

    @cached_property
    def reach(self) -> tuple[float, ...]:
        """Signed distance of each relation between the centres of the `boxes`, in image sides."""
        centres = centres_of(self.boxes)
        return tuple(float(relation.distance(centres)) for relation in self.relations)

    @property
    def can_hold(self) -> int:
        """Number of relations that hold in the `boxes`."""
        return sum(distance > 0 for distance in self.reach)

    @cached_property
    def together(self) -> frozenset[tuple[int, int]]:
        """Pairs (i, j), i < j, of objects whose boxes overlap, as those of "inside" do."""
        numbered = combinations(enumerate(self.boxes), 2)
        return frozenset((i, j) for (i, one), (j, other) in numbered if not apart(one, other))


@dataclass(frozen=True)
class PlannedScene(Structure):
    """A scene whose relations have their plugins."""

    scene: Scene

    @cached_property
    def structure(self) -> Structure:
        """The scene without its words."""
        return Structure(self.counts, self.relations)


def plan(scene: Scene, predicates: Mapping[str, Predicate]) -> PlannedScene:
    """Check a scene and bind its relations.

    Raises:
        UnknownPluginError: a predicate that no plugin registers.
        SceneError: a relation with the wrong number of grounds, or more than MAX_RELATIONS.
        ContradictionError: directions that form a cycle on an axis; the message names the relations of the cycle.
    """
    if len(scene.relations) > MAX_RELATIONS:
        raise SceneError(
            f"the scene has {len(scene.relations)} relations, and at most {MAX_RELATIONS} are planned: leave some out"
        )
    relations: list[BoundRelation] = []
    stated: dict[BoundRelation, str] = {}
    for relation in scene.relations:
        sentence, name = scene.sentence(relation), relation.predicate
        if name not in predicates:
            raise UnknownPluginError(f"no relation is called '{name}' (in '{sentence}').{suggestion(name, predicates)}")
        wanted = predicates[name].grounds
        if len(relation.objects) != wanted:
            raise SceneError(f"'{sentence}': {name} takes {wanted} grounds, not {len(relation.objects)}")
        relations.append(BoundRelation(relation.subject, name, relation.objects, predicates[name]))
        stated[relations[-1]] = sentence
    check_axes(stated)
    return PlannedScene(tuple(item.count for item in scene.objects), tuple(relations), scene)


def without_contradictions(scene: Scene, predicates: Mapping[str, Predicate]) -> Scene:
    """The scene without the relations that contradict those stated before them; what was left out is in its `ignored`.

    Words that no relation plugin knows are left out too.
    """
    kept: list[Relation] = []
    ignored = list(scene.ignored)
    if not _contradicts(scene, predicates):
        kept = list(scene.relations)
    else:
        for relation in scene.relations:
            if _contradicts(scene.model_copy(update={"relations": (*kept, relation)}), predicates):
                ignored.append(f"'{scene.sentence(relation)}' (it contradicts what was said before)")
            else:
                kept.append(relation)
    return scene.model_copy(update={"relations": tuple(kept), "ignored": tuple(ignored), "unknown": ()})


def _contradicts(scene: Scene, predicates: Mapping[str, Predicate]) -> bool:
    try:
        plan(scene, predicates)
    except ContradictionError:
        return True
    except SpatialGuideError:
        return False  # another fault, which `plan` names to the caller
    return False
