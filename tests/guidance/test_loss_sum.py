"""The weighted sum, against the paper's loss written out from the model's own queries and keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from conftest import layers_of
from diffusers import StableDiffusionPipeline
from torch.nn import functional

from spatialguide import SpatialGuide
from spatialguide.config import GuidanceConfig, TermConfig
from spatialguide.contracts import LossTerm
from spatialguide.errors import ConfigError, MissingTermWarning, UnknownPluginError
from spatialguide.guidance.attention import AttentionObserver, Binding, Places
from spatialguide.guidance.losses import Term, make_terms, unmet
from spatialguide.guidance.scene_batch import SceneBatch
from spatialguide.guidance.schedule import StepPlan
from spatialguide.guidance.statistics import LayerMaps, object_statistics
from spatialguide.guidance.step import Prediction, Scores, correct, gradient, score
from spatialguide.guidance.tokens import Encoding, bind
from spatialguide.guidance.trace import ImageStep, StepRecord
from spatialguide.registry import Registry, default_registry
from spatialguide.scenes.planned import PlannedScene
from spatialguide.testing import planned

PROMPT = "a traffic light to the left of a dog"
SCENE = planned(PROMPT, [("traffic light", "left_of", "dog")])
TOKENS: Binding = ((2, 3), (9,))
LOSSES = default_registry()
STEP = StepPlan(0, 0.0, 500.0, guided=True, biased=False, split=True, observed=True, ranked=True)


@dataclass
class Looked:
    """What a UNet's layers say of a batch."""

    batch: SceneBatch
    maps: tuple[LayerMaps, ...]
    scores: Scores

    @property
    def images(self) -> Sequence[ImageStep | None]:
        return StepRecord(0, 500.0, self.batch.images, self.scores.groups).read().images

    @property
    def distances(self) -> dict[int, torch.Tensor]:
        """Of each image's relations, mean over layers."""
        found = {}
        for group in self.batch.groups:
            rows = object_statistics(group.of(self.maps), group.scene).distances.mean(dim=1)
            found |= dict(zip(group.rows, rows, strict=True))
        return found

    @property
    def reach(self) -> dict[int, tuple[float, ...]]:
        return {row: group.scene.reach for group in self.batch.groups for row in group.rows}


def look(
    unet: Any,
    terms: Sequence[Term],
    scenes: Sequence[PlannedScene],
    bindings: Sequence[Binding],
    sample: torch.Tensor,
    text: torch.Tensor,
    map_size: int | None = None,
) -> Looked:
    batch = SceneBatch.of(scenes, bindings, len(sample) // len(scenes), terms)
    with AttentionObserver(unet, layers_of(unet)) as observer:
        unet(sample, 500, text)
    maps = observer.maps(batch.tokens, Places((sample.shape[-2], sample.shape[-1]), joint=False))
    config = GuidanceConfig(map_size=map_size)
    return Looked(batch, maps, score(maps, batch, config, STEP, watched=True))


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_paper_presets_loss_is_the_papers(random_pipeline: StableDiffusionPipeline) -> None:
    unet, tokenizer = random_pipeline.unet, random_pipeline.tokenizer
    text = random_pipeline.text_encoder(torch.tensor([tokenizer(PROMPT, padding="max_length", max_length=77)["input_ids"]]))[
        0
    ].detach()
    sample = noise(0, 1, 4, 16, 16)
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: seen.update({name: output.detach()})

    modules = dict(unet.named_modules())
    layers = [(block, f"up_blocks.{block}.attentions.{i}.transformer_blocks.0.attn2") for block in (0, 1) for i in (0, 1)]
    handles = [
        modules[f"{name}.{side}"].register_forward_hook(keep(f"{name}.{side}"))
        for _, name in layers
        for side in ("to_q", "to_k")
    ]
    with torch.no_grad():
        unet(sample, 500, text)
    for handle in handles:
        handle.remove()

    axis = torch.linspace(0, 1, 64)
    spatial, presence, balance = [], [], []
    for block, name in layers:
        query, key = seen[f"{name}.to_q"][0], seen[f"{name}.to_k"][0]
        heads = modules[name].heads
        size = query.shape[1] // heads
        parts = [slice(h * size, (h + 1) * size) for h in range(heads)]
        attention = sum(torch.softmax(query[:, p] @ key[:, p].T / size**0.5, dim=-1) for p in parts) / heads
        side = int(attention.shape[0] ** 0.5)
        # Tokens: start, a, traffic, light, to, the, left, of, a, dog.
        maps = [(attention[:, 2] + attention[:, 3]) / 2, attention[:, 9]]
        mu, variance = [], []
        for flat in maps:
            image = functional.interpolate(flat.view(1, 1, side, side), (64, 64), mode="bilinear", antialias=True)[0, 0]
            total = image.sum()
            x, y = (image * axis[None, :]).sum() / total, (image * axis[:, None]).sum() / total
            mu.append(x)
            variance.append((image * ((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2)).sum() / total)
        spatial.append(functional.gelu(0.75 * (0.25 - (mu[1] - mu[0]))))
        if block == 0:
            presence.append(variance[0] + variance[1])
        else:
            balance.append((variance[0] - variance[1]).abs())
    expected = sum(torch.stack(part).mean() for part in (spatial, presence, balance))

    terms = SpatialGuide(preset="paper").terms
    found = look(unet, terms, [SCENE], [bind(SCENE.scene, [Encoding(tokenizer)])], sample, text, map_size=64)
    assert found.scores.loss.tolist() == pytest.approx([expected.item()], rel=1e-5)
    assert found.images[0].terms["alignment"] == pytest.approx(torch.stack(spatial).mean().item(), rel=1e-5)


def test_weights_multiply_their_terms(random_pipeline: StableDiffusionPipeline, registry: Registry) -> None:
    sample, text = noise(0, 1, 4, 16, 16), noise(1, 1, 77, 32)
    losses = []
    for weight in (1.0, 3.0):
        terms = make_terms({"presence": TermConfig(weight=weight)}, registry)
        losses.append(look(random_pipeline.unet, terms, [SCENE], [TOKENS], sample, text).scores.loss.item())
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)


def test_unknown_terms_and_options_name_the_nearest(registry: Registry) -> None:
    with pytest.raises(UnknownPluginError, match=r"no loss is called 'presense'. Did you mean 'presence'"):
        make_terms({"presense": TermConfig()}, registry)
    with pytest.raises(ConfigError, match=r"losses.alignment: unknown key 'marjin'. Did you mean 'margin'"):
        make_terms({"alignment": TermConfig.model_validate({"marjin": 1})}, registry)
    with pytest.raises(ConfigError, match=r"losses.alignment: 'activation'"):
        make_terms({"alignment": TermConfig.model_validate({"activation": "tanh"})}, registry)


#: The first and the last alike in structure, the second another, the third without objects.
FOUR = [
    SCENE,
    planned("a cat above a dog", [("cat", "above", "dog")]),
    planned("fog", []),
    planned("a cow to the left of a red bus", [("cow", "left_of", "bus")]),
]
FOUR_TOKENS: list[Binding] = [TOKENS, ((2,), (5,)), (), ((2,), (9,))]


@pytest.mark.parametrize("name", [n for n in LOSSES.names("losses") if not LOSSES.get("losses", n).reads_words])
def test_scenes_alike_in_structure_score_as_each_alone(
    random_pipeline: StableDiffusionPipeline, registry: Registry, name: str
) -> None:
    unet, each = random_pipeline.unet, 2
    sample, text = noise(0, 4 * each, 4, 16, 16), noise(1, 4 * each, 77, 32)
    terms = make_terms({name: TermConfig()}, registry)
    together = look(unet, terms, FOUR, FOUR_TOKENS, sample, text)
    assert [group.rows for group in together.batch.groups] == [(0, 1, 6, 7), (2, 3)]
    for number, (scene, tokens) in enumerate(zip(FOUR, FOUR_TOKENS, strict=True)):
        rows = slice(number * each, (number + 1) * each)
        if not scene.counts:
            assert together.images[rows] == (None,) * each
            assert not together.scores.loss[rows].any()
            continue
        alone = look(unet, terms, [scene], [tokens], sample[rows], text[rows])
        for found, expected in zip(together.images[rows], alone.images, strict=True):
            assert found.terms == pytest.approx(expected.terms, rel=1e-4, abs=1e-6)
            assert found.satisfaction == pytest.approx(expected.satisfaction, abs=1e-5)
            torch.testing.assert_close(torch.tensor(found.maps), torch.tensor(expected.maps), atol=1e-6, rtol=1e-4)
            assert torch.tensor(found.centroids) == pytest.approx(torch.tensor(expected.centroids), abs=1e-5)
        for image, row in enumerate(range(rows.start, rows.stop)):
            assert together.reach[row] == alone.reach[image]
            torch.testing.assert_close(together.distances[row], alone.distances[image], atol=1e-5, rtol=1e-4)
        assert torch.equal(together.scores.loss[rows].isfinite(), alone.scores.loss.isfinite())
        torch.testing.assert_close(together.scores.loss[rows], alone.scores.loss, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(together.scores.needed[rows], alone.scores.needed, atol=1e-4, rtol=1e-4)


def test_a_term_that_reads_words_sees_every_scene(random_pipeline: StableDiffusionPipeline, registry: Registry) -> None:
    seen = []

    class Reader(LossTerm):
        reads_words: ClassVar[bool] = True

        def __call__(self, statistics: Any, scene: Any) -> torch.Tensor:
            seen.append((scene.scene.prompt, statistics.mass.shape[0]))
            return statistics.mass.sum(dim=(1, 2))

    terms = (*make_terms({"presence": TermConfig()}, registry), Term("losses", "reader", Reader(), 1.0, "tests"))
    look(random_pipeline.unet, terms, [*FOUR, SCENE], [*FOUR_TOKENS, TOKENS], noise(0, 5, 4, 16, 16), noise(1, 5, 77, 32))
    assert seen == [(PROMPT, 2), ("a cat above a dog", 1), ("a cow to the left of a red bus", 1)]


def test_an_image_without_a_finite_loss_leaves_the_others_of_its_structure(random_pipeline: StableDiffusionPipeline) -> None:
    class Broken(LossTerm):
        def __call__(self, statistics: Any, scene: Any) -> torch.Tensor:
            # By the share of one object, whose gradient goes somewhere.
            values = statistics.mass[..., 0].sum(dim=1)
            return values * torch.tensor([1.0, float("nan")] + [1.0] * (len(values) - 2)) if len(values) > 1 else values

    sample = noise(0, 4, 4, 16, 16).requires_grad_()
    terms = (Term("losses", "broken", Broken(), 1.0, "tests"),)
    scores = look(random_pipeline.unet, terms, FOUR, FOUR_TOKENS, sample, noise(1, 4, 77, 32)).scores
    # The first and the last are of one structure, and the second row of their call is the last.
    assert scores.loss.isfinite().tolist() == [True, True, True, False]
    direction = gradient(scores.loss, scores.needed, [sample], half=False)
    prediction = Prediction(noise(2, 4, 4, 16, 16), noise(3, 4, 4, 16, 16), "epsilon", 0.5, channels=1)
    delta, size = correct(direction, scores.loss, scores.needed, prediction, GuidanceConfig())
    assert size.finite.tolist() == [True, True, True, False]
    assert delta.isfinite().all()
    # The third has nothing to guide.
    assert [bool(image.any()) for image in delta] == [True, True, False, False]


def missing(*distances: float, margin: float | None = 0.25, reach: float = 1.0) -> float:
    (share,) = unmet(torch.tensor([distances]), [reach] * len(distances), margin).tolist()
    return share


def test_what_is_unmet_is_the_length_of_the_relations_shares() -> None:
    assert missing(-0.3, -0.1, 0.0, -1.0) == pytest.approx(2)  # four that do not hold: sqrt(4)
    assert missing(0.05, 0.1) == pytest.approx((0.8**2 + 0.6**2) ** 0.5)
    assert missing(0.3, 0.05, 0.25) == pytest.approx(0.8)  # those that hold ask for nothing
    assert missing(0.3, 0.25) == 0
    assert missing(0.3, 0.25, 0.9, margin=None) == pytest.approx(3**0.5)
    assert missing() == missing(margin=None) == 1
    # Four fifths of a layout's distance of 0.1 count as held; what no layout fulfils is not waited for.
    assert missing(0.08, reach=0.1) == pytest.approx(0, abs=1e-6)
    assert missing(-0.2, reach=0.0) == 1
    assert math.isnan(missing(float("nan"), 0.3))


def test_a_loss_without_a_gradient_is_named(random_pipeline: StableDiffusionPipeline) -> None:
    class Detached(LossTerm):
        def __call__(self, statistics: Any, scene: Any) -> Any:
            return statistics.mass.detach().sum(dim=(1, 2))

    terms = (Term("losses", "detached", Detached(), 1.0, "their-dist"),)
    sample = noise(0, 1, 4, 16, 16).requires_grad_()
    with pytest.warns(MissingTermWarning, match="loss 'detached' of distribution 'their-dist' has no gradient"):
        look(random_pipeline.unet, terms, [SCENE], [TOKENS], sample, noise(1, 1, 77, 32))
