"""What each kind of plugin must be. These are the types that hooks register; the registry checks them.

Nothing heavy is imported here, so that parsing a prompt does not load torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, field_validator

from spatialguide.errors import EvaluationError
from spatialguide.scenes.scene import Scene, SceneObject

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from spatialguide.guidance.statistics import ObjectStatistics
    from spatialguide.scenes.planned import Structure


def ordered(window: tuple[float, float]) -> tuple[float, float]:
    """A part of the sampling steps, checked.

    Raises:
        ValueError: it is none.
    """
    if not 0 <= window[0] < window[1] <= 1:
        raise ValueError("window must be two fractions with 0 <= start < stop <= 1")
    return window


class LossTerm(BaseModel, ABC):
    """One weighted term of the guidance loss. Subclass it; the fields are the term's options in the configuration.

    `levels` names the attention levels whose layers the term reads; the term averages over those layers.

    reads_words: set it to True on a term that reads the scene's words (`scene.scene`: prompt, names, attributes) and not its
        structure alone (`Structure`: counts and relations). Images of all scenes of one structure are scored in one call, which
        a GPU does as fast as one; a term that reads words is called scene by scene, and with it all others.
    reads_attributes: set it to True, with `reads_words`, on a term that reads `statistics.attributes`, the maps of the words
        "red" and "wooden" of "a red car and a wooden chair". Attention then computes them too.
    """

    reads_words: ClassVar[bool] = False
    reads_attributes: ClassVar[bool] = False

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    levels: tuple[str, ...] = ("coarse", "mid")

    def applies(self, scene: Structure) -> bool:
        """Whether the term has anything to say of a scene; by default of every scene with relations.

        It is not called for other scenes, and one to which no term applies is drawn as the plain pipeline draws it. A term
        that speaks of objects alone returns bool(scene.counts). Where it applies, its value must have a gradient.
        """
        return bool(scene.relations)

    @abstractmethod
    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Score images of one structure.

        Args:
            statistics: object statistics of the layers at `levels`, tensors of shape (images, layers, objects).
            scene: what is asked for: how many of each object, and relations with their predicates; object i of the scene is
                object i of the statistics. With `reads_words` a `PlannedScene`, whose `scene` has the words.

        Returns:
            Tensor of shape (images,), differentiable; lower is better.
        """


class Steering(BaseModel, ABC):
    """A steering of the model's attention, without gradients. Subclass it; the fields are its options in the configuration.

    reads_words: as of a `LossTerm`.
    window: part of the sampling steps that it steers, as fractions [start, stop) from the noisiest step on.
    """

    reads_words: ClassVar[bool] = False

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    window: tuple[float, float] = (0.0, 0.4)

    @field_validator("window")
    @classmethod
    def _ordered(cls, window: tuple[float, float]) -> tuple[float, float]:
        return ordered(window)

    def applies(self, scene: Structure) -> bool:
        """Whether it has anything to say of a scene; by default of every scene with relations."""
        return bool(scene.relations)

    @abstractmethod
    def __call__(self, places: Tensor, scene: Structure, size: tuple[int, int]) -> Tensor:
        """What is added to attention's scores, before the softmax, of the words of each object.

        Args:
            places: where images of one structure have their objects, (images, objects, 2), x then y in image sides: the
                centres of the last step's attention maps (`ObjectStatistics.place`); at first, the middles of `scene.boxes`.
            scene: as a `LossTerm` gets it.
            size: (height, width) of the grid of pixels.

        Returns:
            (images, objects, height, width), or 1 for images where all are alike. What is no number counts as 0.
            2 makes a word 7.4 times as likely there, among the others, -2 as much less.
        """


@runtime_checkable
class Predicate(Protocol):
    """A spatial predicate.

    Attributes:
        name: predicate in scenes, such as "left_of".
        phrases: what prompts call it, in lower case, such as "to the left of".
        grounds: how many objects stand on its right-hand side: 1 as a rule, 2 for "between"; 0 for a place in the picture,
            whose phrases name the place alone ("top left": the parser knows "in the", "corner", "of the image").
        converse: name of the predicate that holds with subject and object exchanged, or None; its own name if symmetric.
        direction: step (x, y) from ground to subject, y growing downwards; None where there is none. Without grounds: from
            the picture's centre, (0, 0) for the centre itself. Relations whose directions form a cycle are contradictory.
    """

    # Properties, so that frozen dataclasses fit the protocol.
    @property
    def name(self) -> str: ...
    @property
    def phrases(self) -> tuple[str, ...]: ...
    @property
    def grounds(self) -> int: ...
    @property
    def converse(self) -> str | None: ...
    @property
    def direction(self) -> tuple[float, float] | None: ...

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """Signed distance in image sides, positive when the relation holds.

        Args:
            subject: centroid; x is subject[..., 0], y is subject[..., 1], both in [0, 1], y growing downwards.
            grounds: centroids of the same shape. Tensors and numpy arrays both work.
        """
        ...


class Parser(Protocol):
    """Turns a prompt into a scene. Registered as a factory: called once with keyword options, then used as a function.

    A parser may also have `pipe(prompts: Sequence[str]) -> Iterable[Scene]` for many prompts at once, in order.
    """

    def __call__(self, prompt: str) -> Scene:
        """Parse one prompt. Raises PromptError for a prompt that cannot be parsed at all."""
        ...


@dataclass(frozen=True)
class Layers:
    """Module names of the attention layers to observe, by level: {"coarse": (...), "mid": (...)}."""

    levels: Mapping[str, tuple[str, ...]]

    def __iter__(self) -> Any:
        """Pairs (level, module name), coarse level first, in the order given."""
        return ((level, name) for level, names in self.levels.items() for name in names)

    def first(self, count: int | None) -> Layers:
        """The first so many of each level; None keeps all."""
        return Layers({level: names[:count] for level, names in self.levels.items()})


@dataclass(frozen=True)
class Generation:
    """A backend's usual settings, used where the configuration leaves them open; a size of None is the pipeline's own.

    call: further arguments of the pipeline's call. scale: what it calls the scale of classifier-free guidance.
    """

    steps: int
    guidance_scale: float
    width: int | None
    height: int | None
    call: Mapping[str, Any] = field(default_factory=dict)
    scale: str = "guidance_scale"


class Backend(ABC):
    """A diffusers pipeline and how to guide it. Registered as a class or factory, called with `backend_options`."""

    generation: ClassVar[Generation]
    #: Object names that the model can draw; None when it is not limited to a list.
    vocabulary: tuple[str, ...] | None = None

    @abstractmethod
    def load(self) -> Any:
        """Return the pipeline, ready to call."""

    def layers(self, pipeline: Any) -> Layers | None:
        """Attention layers to observe in the pipeline's denoiser, in which pixels attend to text; None for the usual ones."""
        return None

    def doubts(self, scene: Scene) -> list[str]:
        """What of a scene the model cannot draw, a line each; by default what its vocabulary lacks. The image is made still."""
        known = self.vocabulary
        if known is None:
            return []
        unknown = {item.text for item in scene.objects if item.text.lower() not in known}
        return [f"the model has never seen '{name}'; it draws: {', '.join(known)}" for name in sorted(unknown)]


@dataclass(frozen=True)
class Detection:
    """One detected object: box is (x0, y0, x1, y1) in pixels, score in [0, 1], colour None where the detector names none."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    colour: str | None = None

    @property
    def centroid(self) -> tuple[float, float]:
        """Centre of the box in pixels."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


class Detector(Protocol):
    """Finds objects in images. Registered as a class or factory, called with the configuration's `detector_options`."""

    def __call__(self, images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        """Detect the labels in each image; one list per image, best score first."""
        ...


class FeatureExtractor(ABC):
    """Features of images, for fidelity. Registered as a class or factory; keyword arguments are its options."""

    @abstractmethod
    def maps(self, images: Sequence[Image]) -> list[Tensor]:
        """Feature maps, shallow layers first: tensors of shape (images, channels, height, width)."""

    def embed(self, images: Sequence[Image]) -> Tensor:
        """One vector per image, (images, dimensions); by default the deepest map's mean over space."""
        return self.maps(images)[-1].mean(dim=(2, 3))

    def reference(self) -> Tensor | None:
        """Embeddings of real images that come with the extractor, (images, dimensions); None if there are none."""
        return None

    def similarity(self, images: Sequence[Image], prompt: str) -> float | None:
        """How well the images show the prompt, their mean, 0 to 100 (CLIP score); None for features without words."""
        return None


@dataclass(frozen=True)
class Case:
    """One prompt of a benchmark. labels: what the detector looks for; data: whatever the benchmark's rule needs."""

    prompt: str
    labels: tuple[str, ...]
    data: Any = None


class Benchmark(ABC):
    """Prompts and a rule that scores images. Registered as a class or factory; keyword arguments are its options.

    twins: prompts come in twos that are drawn from the same seeds and must both be right, such as "a cat to the left of a dog"
        and "a dog to the left of a cat".
    boxes: what the detector finds are the scene's objects, so that the strict rule can count them.
    """

    twins: ClassVar[bool] = False
    boxes: bool = True

    @abstractmethod
    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """Prompts, at most `count` of them and the same for the same seed.

        Args:
            vocabulary: names that the model can draw; None where it is not limited.
        """

    def labels(self, case: Case, scene: Scene) -> tuple[str, ...]:
        """What the detector looks for; by default the case's labels."""
        return case.labels

    def label(self, item: SceneObject) -> str:
        """What the detector calls an object of the scene; by default its name. The strict rule counts by it."""
        return item.text

    def pictures(self, folder: Path) -> list[tuple[Case, list[Path]]]:
        """Images of a folder that is laid out as the publication lays out its results, by prompt.

        Raises:
            EvaluationError: there are none; the benchmark has no such layout, by default.
        """
        raise EvaluationError("this benchmark's publication has no layout of folders: draw with `spatialguide bench run`")

    @abstractmethod
    def score(
        self,
        case: Case,
        scene: Scene,
        detections: Sequence[Detection],
        size: tuple[int, int],
        relations: Mapping[str, Predicate],
    ) -> tuple[bool, float]:
        """Score one image. `spatialguide.evaluation.visor.VisorRule` is a base class with VISOR's rule.

        Args:
            detections: best score first, boxes in pixels.
            size: width and height of the image in pixels.

        Returns:
            Whether all objects were detected, and how right the image is, in [0, 1]; from 0.5 on it counts as right.
        """


@dataclass(frozen=True)
class DirectionalPredicate:
    """A relation that holds when the subject lies on one side of its ground: a ready-made `Predicate`."""

    name: str
    phrases: tuple[str, ...]
    direction: tuple[float, float]
    converse: str | None = None
    grounds: int = field(default=1, init=False)

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """Component of (subject - ground) along the direction (InfSplign, signed centroid distance)."""
        (ground,) = grounds
        # An axis on which it says nothing is not worth its operators.
        steps = [step * (subject[..., axis] - ground[..., axis]) for axis, step in enumerate(self.direction) if step]
        return sum(steps[1:], steps[0])
