"""Fidelity figures against what they must be in closed form."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spatialguide.contracts import FeatureExtractor
from spatialguide.errors import EvaluationError, InvalidPluginError, PluginError, UnknownPluginError
from spatialguide.evaluation.fidelity import (
    CLIP_SCORE,
    DISTANCE,
    FRECHET,
    FRECHET_RATIO,
    SATURATION,
    FeatureChoice,
    Features,
    FidelityMeter,
    frechet_distance,
    load_features,
    perceptual_distance,
    saturation,
)
from spatialguide.evaluation.uncertainty import jackknife
from spatialguide.hookspecs import hookimpl
from spatialguide.registry import Registry


class Mean(FeatureExtractor):
    """The picture itself as its only map."""

    def maps(self, images):
        pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
        return [torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255]

    def similarity(self, images, prompt):
        return float(len(prompt) + len(images))


def written(folder: Path, colours: list[str]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(colours))]
    for path, colour in zip(paths, colours, strict=True):
        Image.new("RGB", (8, 8), colour).save(path)
    return paths


def test_frechet_equals_the_closed_form() -> None:
    """|m1 - m2|^2 + sum (s1 - s2)^2 for independent features."""
    rng = np.random.default_rng(0)
    reference = torch.from_numpy(rng.normal(0, 1, (20000, 3)) * [1, 2, 3])
    embeddings = torch.from_numpy(rng.normal(0, 1, (200, 50, 3)) * [2, 2, 1] + [1, 0, 0])
    distance = frechet_distance(reference)
    assert distance(embeddings) == pytest.approx(1 + 1 + 0 + 4, rel=0.05)
    assert distance(reference[:100].reshape(10, 10, 3)) < 0.5


def test_a_jackknife_of_a_mean_is_the_usual_interval() -> None:
    sample = np.random.default_rng(1).normal(5, 2, 400)
    found = jackknife(len(sample), lambda numbers: float(sample[numbers].mean()))
    error = sample.std() / np.sqrt(len(sample))
    assert found.value == pytest.approx(sample.mean())
    assert found.interval.high - found.value == pytest.approx(1.96 * error, rel=0.35)
    assert np.isnan(jackknife(2, lambda numbers: 3.0).interval.low)


def test_perceptual_distance_of_equal_orthogonal_and_opposite_features() -> None:
    first = torch.zeros(3, 2, 4, 4)
    first[:, 0] = 5
    second = torch.stack([first[0] * 2, first[0].flip(0), -first[0]])
    assert perceptual_distance([first], [second]).tolist() == pytest.approx([0, 2, 4])
    # The mean over layers.
    assert perceptual_distance([first, first], [second, first]).tolist() == pytest.approx([0, 1, 2])


def test_saturation_of_known_colours() -> None:
    assert saturation(Image.new("RGB", (4, 4), "red")) == pytest.approx(100)
    assert saturation(Image.new("RGB", (4, 4), "gray")) == 0
    assert saturation(Image.new("RGB", (4, 4), (255, 128, 128))) == pytest.approx(50, abs=0.5)


def test_a_meter_measures_against_the_plain_images(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain", ["red", "red", "blue", "blue"])
    mine = written(tmp_path / "mine", ["red", "blue", "blue", "gray"])
    pairs = [plain[:2], plain[2:]]
    reference = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).double()
    registry = Registry()
    registry.add(Plugin())
    meter = FidelityMeter(["ab", "abcd"], pairs, Features("mean", Mean(), registry, reference))
    figures = meter.figures([mine[:2], mine[2:]])
    assert set(figures) == {SATURATION, DISTANCE, CLIP_SCORE, FRECHET, FRECHET_RATIO}
    same = meter.figures(pairs)
    assert same[FRECHET_RATIO].value == 1
    assert figures[FRECHET_RATIO].value == pytest.approx(figures[FRECHET].value / same[FRECHET].value)
    assert figures[SATURATION].value == pytest.approx(75)
    # red to blue is orthogonal: 2; blue to gray has the cosine 1 / sqrt 3.
    assert figures[DISTANCE].value == pytest.approx((2 + 2 - 2 / np.sqrt(3)) / 4, rel=1e-3)
    assert figures[CLIP_SCORE].value == pytest.approx(5)
    assert meter.figures(pairs)[DISTANCE].value == 0
    assert meter.seed_distance() == 0
    # Over three prompts or more, intervals: of one that is the plain model's, none to speak of.
    thrice = FidelityMeter(["a"] * 3, [plain[:2], plain[2:], mine[:2]], Features("mean", Mean(), registry, reference))
    ratio = thrice.figures([plain[:2], plain[2:], mine[:2]])[FRECHET_RATIO]
    assert (ratio.value, ratio.interval.low, ratio.interval.high) == (1, 1, 1)
    other = thrice.figures([mine[:2], mine[2:], plain[2:]])
    for name in (FRECHET, FRECHET_RATIO):
        assert other[name].interval.low < other[name].value < other[name].interval.high
    bare = FidelityMeter(["ab", "abcd"], pairs, None)
    assert set(bare.figures(pairs)) == {SATURATION}
    assert bare.seed_distance() is None


class Plugin:
    @hookimpl
    def spatialguide_features(self, register) -> None:
        register("mean", Mean)
        register("broken", lambda: 3)
        for fault in ("flat", "short", "nan", "raises", "embed", "reference"):
            register(fault, partial(Faulty, fault))


class Faulty(Mean):
    """Breaks the contract in one way."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def maps(self, images):
        maps = super().maps(images)
        broken = {"flat": [maps[0][0]], "short": [maps[0][:1]], "nan": [maps[0] * float("nan")]}
        if self.fault == "raises":
            raise RuntimeError("no eyes")
        return broken.get(self.fault, maps)

    def embed(self, images):
        return torch.zeros(len(images)) if self.fault == "embed" else super().embed(images)

    def reference(self):
        return torch.zeros(1, 3) if self.fault == "reference" else None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("flat", "maps"),
        ("short", "maps"),
        ("nan", "maps"),
        ("raises", "no eyes"),
        ("embed", "embed"),
        ("reference", "reference"),
    ],
)
def test_features_that_break_their_contract_are_named_before_anything_is_drawn(fault: str, message: str) -> None:
    registry = Registry()
    registry.add(Plugin())
    with pytest.raises(PluginError, match=rf"'{fault}' of distribution .*{message}"):
        load_features(registry, "tiny", FeatureChoice(fault))


def test_features_are_chosen_by_name_or_by_backend(tmp_path: Path) -> None:
    registry = Registry()
    registry.add(Plugin())
    own = load_features(registry, "tiny", FeatureChoice())
    assert own is not None
    assert own.name == "tiny"
    assert own.reference is not None
    assert own.reference.shape == (2000, 128)
    assert load_features(registry, "sd15", FeatureChoice()) is None
    assert load_features(registry, "tiny", FeatureChoice("none")) is None
    written(tmp_path, ["red", "blue", "green"])
    given = load_features(registry, "tiny", FeatureChoice("mean", reference=tmp_path))
    assert given is not None
    assert given.reference is not None
    assert given.reference.shape == (3, 3)
    with pytest.raises(UnknownPluginError, match=r"no feature extractor is called 'meen'\. Did you mean 'mean'"):
        load_features(registry, "tiny", FeatureChoice("meen"))
    with pytest.raises(InvalidPluginError, match="features 'broken'"):
        load_features(registry, "tiny", FeatureChoice("broken"))
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(EvaluationError, match=r"cannot read the image '.*broken\.png'"):
        load_features(registry, "tiny", FeatureChoice("mean", reference=tmp_path))
    with pytest.raises(EvaluationError, match="holds 0 images"):
        load_features(registry, "tiny", FeatureChoice("mean", reference=tmp_path / "none"))
