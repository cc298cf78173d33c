"""The weighted sum, against the paper's loss written out from the model's own queries and keys."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.nn import functional

from spatialguide import SpatialGuide
from spatialguide.binding import Encoding, bind
from spatialguide.config import TermConfig
from spatialguide.contracts import LossTerm
from spatialguide.errors import ConfigError, MissingTermWarning, UnknownPluginError
from spatialguide.layers import decoder_layers
from spatialguide.losses import LossSum, Scored, Term, make_terms
from spatialguide.observer import AttentionObserver
from spatialguide.records import scene_from_triples
from spatialguide.registry import Registry, default_registry
from spatialguide.scene import Scene

PROMPT = "a traffic light to the left of a dog"
SCENE = scene_from_triples(PROMPT, [("traffic light", "left_of", "dog")])


def test_the_paper_presets_loss_is_the_papers(random_pipeline: StableDiffusionPipeline) -> None:
    unet, tokenizer = random_pipeline.unet, random_pipeline.tokenizer
    text = random_pipeline.text_encoder(torch.tensor([tokenizer(PROMPT, padding="max_length", max_length=77)["input_ids"]]))[
        0
    ].detach()
    sample = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
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

    guide = SpatialGuide(preset="paper")
    losses = LossSum(make_terms(guide.config.losses, guide.registry), guide.registry.relations(), map_size=64)
    with AttentionObserver(unet, decoder_layers(unet)) as observer:
        unet(sample, 500, text)
    scored = losses(observer, [SCENE], [bind(SCENE, [Encoding(tokenizer)])], sample)
    assert scored.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert scored.images[0].terms["alignment"] == pytest.approx(torch.stack(spatial).mean().item(), rel=1e-5)


def test_weights_multiply_their_terms(random_pipeline: StableDiffusionPipeline, registry: Registry) -> None:
    unet = random_pipeline.unet
    sample = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(1))
    totals = []
    for weight in (1.0, 3.0):
        terms = make_terms({"presence": TermConfig(weight=weight)}, registry)
        with AttentionObserver(unet, decoder_layers(unet)) as observer:
            unet(sample, 500, text)
        totals.append(LossSum(terms, registry.relations())(observer, [SCENE], [((2, 3), (9,))], sample).total.item())
    assert totals[1] == pytest.approx(3 * totals[0], rel=1e-5)


def test_unknown_terms_and_options_name_the_nearest(registry: Registry) -> None:
    with pytest.raises(UnknownPluginError, match=r"no loss is called 'presense'. Did you mean 'presence'"):
        make_terms({"presense": TermConfig()}, registry)
    with pytest.raises(ConfigError, match=r"losses.alignment: unknown key 'marjin'. Did you mean 'margin'"):
        make_terms({"alignment": TermConfig.model_validate({"marjin": 1})}, registry)
    with pytest.raises(ConfigError, match=r"losses.alignment: 'activation'"):
        make_terms({"alignment": TermConfig.model_validate({"activation": "tanh"})}, registry)


def _four_scenes() -> tuple[list[Scene], list[Any]]:
    """The first and the last alike in structure, the second another, the third without objects."""
    scenes = [
        SCENE,
        scene_from_triples("a cat above a dog", [("cat", "above", "dog")]),
        Scene(prompt="fog"),
        scene_from_triples("a cow to the left of a red bus", [("cow", "left_of", "bus")]),
    ]
    return scenes, [((2, 3), (9,)), ((2,), (5,)), (), ((2,), (9,))]


@pytest.mark.parametrize("name", default_registry().names("losses"))
def test_scenes_alike_in_structure_score_as_each_alone(
    random_pipeline: StableDiffusionPipeline, registry: Registry, name: str
) -> None:
    unet, images = random_pipeline.unet, 2
    scenes, bindings = _four_scenes()
    sample = torch.randn(4 * images, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    text = torch.randn(4 * images, 77, 32, generator=torch.Generator().manual_seed(1))
    losses = LossSum(make_terms({name: TermConfig()}, registry), registry.relations(), watched=True)
    with AttentionObserver(unet, decoder_layers(unet)) as observer:
        unet(sample, 500, text)
    together = losses(observer, scenes, bindings, sample, ranked=True)
    alone = []
    for number, (scene, tokens) in enumerate(zip(scenes, bindings, strict=True)):
        rows = slice(number * images, (number + 1) * images)
        with AttentionObserver(unet, decoder_layers(unet)) as observer:
            unet(sample[rows], 500, text[rows])
        alone.append(losses(observer, [scene], [tokens], sample[rows], ranked=True))
    assert together.total.item() == pytest.approx(sum(scored.total.item() for scored in alone), rel=1e-4)
    for seen, expected in zip(together.images, (image for scored in alone for image in scored.images), strict=True):
        assert (seen is None) == (expected is None)
        if seen is not None:
            assert seen.terms == pytest.approx(expected.terms, rel=1e-4, abs=1e-6)
            assert seen.satisfaction == pytest.approx(expected.satisfaction, abs=1e-5)
            torch.testing.assert_close(torch.tensor(seen.maps), torch.tensor(expected.maps), atol=1e-6, rtol=1e-4)
            assert torch.tensor(seen.centroids) == pytest.approx(torch.tensor(expected.centroids), abs=1e-5)
    expected_distances = [row for scored in alone for row in scored.distances]
    assert [row.shape for row in together.distances] == [row.shape for row in expected_distances]
    assert torch.equal(torch.cat(together.reach), torch.cat([row for scored in alone for row in scored.reach]))
    assert torch.equal(together.finite, torch.cat([scored.finite for scored in alone]))
    torch.testing.assert_close(torch.cat(together.distances), torch.cat(expected_distances), atol=1e-5, rtol=1e-4)


def test_a_term_that_reads_words_sees_every_scene(random_pipeline: StableDiffusionPipeline, registry: Registry) -> None:
    unet, seen = random_pipeline.unet, []

    class Reader(LossTerm):
        def __call__(self, statistics: Any, scene: Scene, relations: Any) -> torch.Tensor:
            seen.append((scene.prompt, statistics.mass.shape[0]))
            return statistics.mass.sum(dim=(1, 2))

    scenes, bindings = _four_scenes()
    sample = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    terms = (*make_terms({"presence": TermConfig()}, registry), Term("reader", Reader(), 1.0, "tests"))
    with AttentionObserver(unet, decoder_layers(unet)) as observer:
        unet(sample, 500, torch.randn(5, 77, 32))
    LossSum(terms, registry.relations())(observer, [*scenes, SCENE], [*bindings, ((2, 3), (9,))], sample)
    assert seen == [(PROMPT, 2), ("a cat above a dog", 1), ("a cow to the left of a red bus", 1)]


def test_an_image_without_a_finite_loss_leaves_the_others_of_its_structure(
    random_pipeline: StableDiffusionPipeline, registry: Registry
) -> None:
    unet = random_pipeline.unet

    class Broken(LossTerm):
        wordless: ClassVar[bool] = True

        def __call__(self, statistics: Any, scene: Scene, relations: Any) -> torch.Tensor:
            values = statistics.mass.sum(dim=(1, 2))
            return values * torch.tensor([1.0, float("nan")] + [1.0] * (len(values) - 2)) if len(values) > 1 else values

    scenes, bindings = _four_scenes()
    sample = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with AttentionObserver(unet, decoder_layers(unet)) as observer:
        unet(sample, 500, torch.randn(4, 77, 32, generator=torch.Generator().manual_seed(1)))
    scored = LossSum((Term("broken", Broken(), 1.0, "tests"),), registry.relations())(observer, scenes, bindings, sample)
    # The first and the last are of one structure, and the second row of their call is the last.
    assert scored.finite.tolist() == [True, True, True, False]
    assert scored.total.isfinite()


def scored(*distances: float, reach: float = 1.0) -> Scored:
    gaps = torch.tensor(distances)
    return Scored(torch.zeros(()), torch.ones(1, dtype=torch.bool), [None], [gaps], [torch.full_like(gaps, reach)])


def test_what_is_unmet_is_the_length_of_the_relations_shares() -> None:
    assert scored(-0.3, -0.1, 0.0, -1.0).unmet(0.25).item() == pytest.approx(2)  # four that do not hold: sqrt(4)
    assert scored(0.05, 0.1).unmet(0.25).item() == pytest.approx((0.8**2 + 0.6**2) ** 0.5)
    assert scored(0.3, 0.05, 0.25).unmet(0.25).item() == pytest.approx(0.8)  # those that hold ask for nothing
    assert scored(0.3, 0.25).unmet(0.25).item() == 0
    assert scored(0.3, 0.25, 0.9).unmet(None).item() == pytest.approx(3**0.5)
    assert scored().unmet(0.25).item() == scored().unmet(None).item() == 1
    # Four fifths of a layout's distance of 0.1 count as held; what no layout fulfils is not waited for.
    assert scored(0.08, reach=0.1).unmet(0.25).item() == pytest.approx(0, abs=1e-6)
    assert scored(-0.2, reach=0.0).unmet(0.25).item() == 1
    assert torch.isnan(scored(float("nan"), 0.3).unmet(0.25)).all()


def test_a_loss_without_a_gradient_is_named(random_pipeline: StableDiffusionPipeline, registry: Registry) -> None:
    class Detached(LossTerm):
        def __call__(self, statistics: Any, scene: Any, relations: Any) -> Any:
            return statistics.mass.detach().sum(dim=(1, 2))

    unet = random_pipeline.unet
    sample = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with AttentionObserver(unet, decoder_layers(unet)) as observer:
        unet(sample, 500, torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(1)))
    losses = LossSum((Term("detached", Detached(), 1.0, "their-dist"),), registry.relations())
    with pytest.warns(MissingTermWarning, match="loss 'detached' of distribution 'their-dist' has no gradient"):
        losses(observer, [SCENE], [((2, 3), (9,))], sample)
