"""Fidelity: what guidance costs in image quality. Frechet distance, CLIP score, distance to the unguided image, saturation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from spatialguide.contracts import FeatureExtractor
from spatialguide.errors import EvaluationError, InvalidPluginError
from spatialguide.evaluation.pictures import SUFFIXES, opened
from spatialguide.evaluation.uncertainty import Figure, jackknife, mean_figure
from spatialguide.registry import Registry

SATURATION, DISTANCE, FRECHET, CLIP_SCORE = "saturation", "distance", "Frechet", "CLIP score"
FRECHET_RATIO = "Frechet ratio"
#: In place of an extractor's name: no features.
NO_FEATURES = "none"
_AT_ONCE = 64


@dataclass(frozen=True)
class FeatureChoice:
    """Which features to measure with.

    Attributes:
        name: of the feature plugin; by default the one that has the backend's name, if there is one; "none" for none.
        options: its keyword arguments.
        reference: folder of real images for the Frechet distance; by default what comes with the extractor.
    """

    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    reference: Path | None = None


@dataclass(frozen=True)
class Features:
    """An extractor, each of whose answers is checked, and the embeddings of reference images, (images, dimensions), if any."""

    name: str
    extractor: FeatureExtractor
    registry: Registry
    reference: Tensor | None = None

    def maps(self, images: Sequence[Image.Image]) -> list[Tensor]:
        """See FeatureExtractor. Raises PluginError if it raises or returns something else."""
        maps: Any = self._call(lambda: self.extractor.maps(images))
        self._check(
            isinstance(maps, (list, tuple)) and bool(maps) and all(_is_batch(each, 4, len(images)) for each in maps),
            "maps() must return tensors (images, channels, height, width), finite and one per layer",
        )
        return list(maps)

    def embed(self, images: Sequence[Image.Image]) -> Tensor:
        """See FeatureExtractor; float64."""
        vectors: Any = self._call(lambda: self.extractor.embed(images))
        self._check(_is_batch(vectors, 2, len(images)), "embed() must return a tensor (images, dimensions), finite")
        return torch.as_tensor(vectors).double().cpu()

    def similarity(self, images: Sequence[Image.Image], prompt: str) -> float | None:
        """See FeatureExtractor."""
        found: Any = self._call(lambda: self.extractor.similarity(images, prompt))
        self._check(found is None or isinstance(found, (int, float)), "similarity() must return a number or None")
        return None if found is None else float(found)

    def own_reference(self) -> Tensor | None:
        """Embeddings that come with the extractor."""
        found: Any = self._call(self.extractor.reference)
        message = "reference() must return None or a tensor (images, dimensions) of at least two images, finite"
        self._check(found is None or (_is_batch(found, 2, None) and len(found) > 1), message)
        return None if found is None else found.double()

    def _call(self, action: Callable[[], Any]) -> Any:
        return self.registry.call("features", self.name, action)

    def _check(self, holds: bool, wanted: str) -> None:
        if not holds:
            source = self.registry.origin("features", self.name).distribution
            raise InvalidPluginError(f"features '{self.name}' of distribution '{source}': {wanted}")


def _is_batch(value: Any, axes: int, images: int | None) -> bool:
    fits = isinstance(value, Tensor) and value.ndim == axes and images in (None, len(value))
    return fits and bool(value.isfinite().all())


def load_features(registry: Registry, backend: str, choice: FeatureChoice) -> Features | None:
    """Build the chosen extractor; None where there is none.

    Raises:
        UnknownPluginError: no feature plugin has the name.
        EvaluationError: the reference folder holds no images.
    """
    name = choice.name or (backend if backend in registry.names("features") else NO_FEATURES)
    if name == NO_FEATURES:
        return None
    extractor = registry.make("features", name, choice.options)
    if not isinstance(extractor, FeatureExtractor):
        source = registry.origin("features", name).distribution
        raise InvalidPluginError(
            f"features '{name}' of distribution '{source}' made {type(extractor).__name__}, not a FeatureExtractor: subclass it"
        )
    features = Features(name, extractor, registry)
    # A blank picture or two tell what is wrong before hours of drawing do.
    blank = [Image.new("RGB", (64, 64))] * 2
    features.maps(blank)
    width = features.embed(blank).shape[1]
    if choice.reference is None:
        reference = features.own_reference()
        if reference is not None and reference.shape[1] != width:
            raise InvalidPluginError(
                f"features '{name}': reference() has {reference.shape[1]} dimensions and embed() {width}: they must be the same"
            )
        return replace(features, reference=reference)
    paths = sorted(path for path in choice.reference.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < 2:
        raise EvaluationError(f"'{choice.reference}' holds {len(paths)} images: a Frechet distance needs a folder of many")
    batches = (paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE))
    return replace(features, reference=torch.cat([features.embed(opened(batch)) for batch in batches]))


def saturation(image: Image.Image) -> float:
    """Mean saturation of the HSV picture, in percent."""
    return float(np.asarray(image.convert("HSV"))[..., 1].mean() / 2.55)


def perceptual_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> NDArray[np.float64]:
    """LPIPS without its learned weights (Zhang et al., arXiv 1801.03924, equation 1).

    At every place the features of all channels are scaled to length 1; squared differences are summed over channels, and
    averaged over places and, where LPIPS sums, over layers: 0 for equal images, 2 for orthogonal features, at most 4.

    Args:
        first, second: feature maps of both sets of images, tensors (images, channels, height, width).

    Returns:
        (images,).
    """
    layers = [
        (nn.functional.normalize(a, dim=1) - nn.functional.normalize(b, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
        for a, b in zip(first, second, strict=True)
    ]
    distances: NDArray[np.float64] = torch.stack(layers).mean(dim=0).double().cpu().numpy()
    return distances


class FidelityMeter:
    """Measures methods against the plain model, prompt by prompt. Every figure's interval is over prompts.

    Args:
        prompts: texts.
        baseline: paths of the plain model's images, per prompt.
        features: extractor; without one only saturation is measured.
    """

    def __init__(self, prompts: Sequence[str], baseline: Sequence[Sequence[Path]], features: Features | None) -> None:
        self._prompts = prompts
        self._baseline = baseline
        self._features = features

    def figures(self, paths: Sequence[Sequence[Path]]) -> dict[str, Figure]:
        """Figures of a method.

        Args:
            paths: of its images, per prompt, in the order of the plain model's.
        """
        rows: dict[str, list[float]] = {SATURATION: []}
        embeddings = []
        for prompt, mine, plain in zip(self._prompts, paths, self._baseline, strict=True):
            images = opened(mine)
            rows[SATURATION].append(float(np.mean([saturation(image) for image in images])))
            if self._features is None:
                continue
            extractor = self._features
            moved = perceptual_distance(extractor.maps(images), extractor.maps(opened(plain)))
            rows.setdefault(DISTANCE, []).append(float(moved.mean()))
            similarity = extractor.similarity(images, prompt)
            if similarity is not None:
                rows.setdefault(CLIP_SCORE, []).append(similarity)
            if self._features.reference is not None:
                embeddings.append(extractor.embed(images))
        figures = {name: mean_figure(np.array(values)) for name, values in rows.items()}
        if self._features is not None and self._features.reference is not None and len(torch.cat(embeddings)) > 1:
            guided, unguided = self._distance(torch.stack(embeddings)), self._plain_distance
            figures[FRECHET] = jackknife(len(embeddings), guided)
            figures[FRECHET_RATIO] = jackknife(len(embeddings), lambda each: guided(each) / (unguided(each) or math.nan))
        return figures

    @cached_property
    def _plain_distance(self) -> Callable[[NDArray[np.int64]], float]:
        assert self._features is not None
        return self._distance(torch.stack([self._features.embed(opened(paths)) for paths in self._baseline]))

    def _distance(self, embeddings: Tensor) -> Callable[[NDArray[np.int64]], float]:
        """Frechet distance of the images of some prompts, each choice of prompts measured once."""
        assert self._features is not None
        assert self._features.reference is not None
        distance = frechet_distance(self._features.reference)
        value = cache(lambda prompts: distance(embeddings[list(prompts)]))
        return lambda prompts: value(tuple(prompts.tolist()))

    def seed_distance(self) -> float | None:
        """Mean distance between neighbouring seeds of the plain model: a scale for the distance to the unguided image."""
        if self._features is None or len(self._baseline[0]) < 2:
            return None
        extractor = self._features
        means = []
        for paths in self._baseline:
            maps = extractor.maps(opened(paths))
            means.append(perceptual_distance([each[1:] for each in maps], [each[:-1] for each in maps]).mean())
        return float(np.mean(means))


class _Embedded(nn.Module):
    """Takes embeddings for images, since they are made once and used often."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.num_features = dimensions

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings


def frechet_distance(reference: Tensor) -> Callable[[Tensor], float]:
    """Frechet distance between normal distributions fitted to two sets of features (Heusel et al., arXiv 1706.08500).

    It is biased upwards for few images, alike for methods of as many images. Its intervals are a jackknife's over prompts: a
    bootstrap repeats prompts, which alone would raise the distance.

    Args:
        reference: (images, dimensions).

    Returns:
        A function of embeddings (prompts, images, dimensions), at least two images in all.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Embedded(reference.shape[1]), reset_real_features=False)
    metric.update(reference, real=True)

    def distance(embeddings: Tensor) -> float:
        metric.reset()
        metric.update(embeddings.flatten(0, 1), real=False)
        return float(metric.compute())

    return distance
