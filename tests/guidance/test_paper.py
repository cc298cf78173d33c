"""The `paper` preset against InfSplign's formulas written out plainly: whole batch, whole UNet, whole attention matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import layers_of, make_pipeline, make_sdxl
from torch.nn import functional

from spatialguide import SpatialGuide
from spatialguide.guidance.attention import AttentionObserver, Places
from spatialguide.guidance.scene_batch import SceneBatch
from spatialguide.guidance.schedule import StepPlan
from spatialguide.guidance.step import score
from spatialguide.guidance.tokens import Encoding, bind
from spatialguide.scenes.records import scene_from_triples

PROMPT = "a traffic light above a red sports ball"
SCENE = scene_from_triples(PROMPT, [("traffic light", "above", "sports ball")])
RELATIONS = {"left_of": (-1, 0), "right_of": (1, 0), "above": (0, -1), "below": (0, 1)}


class Recording:
    """An attention processor that keeps its probabilities."""

    def __init__(self) -> None:
        self.probabilities: torch.Tensor | None = None

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **_: Any) -> Any:
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key, value = (attn.head_to_batch_dim(projection(text)) for projection in (attn.to_k, attn.to_v))
        self.probabilities = attn.get_attention_scores(query, key)
        out = attn.batch_to_head_dim(self.probabilities @ value)
        return attn.to_out[1](attn.to_out[0](out))


def plain_loss(probabilities: dict[str, list[torch.Tensor]], heads: int, tokens: Any, predicate: str) -> torch.Tensor:
    """The loss of the conditional sample, the second of the batch; probabilities per level: (batch * heads, pixels, text).

    A mean over all layers at once: each has the spatial term, and presence or balance by its level.
    """
    every: list[torch.Tensor] = []
    grid = torch.linspace(0, 1, 64)
    for level, layers in probabilities.items():
        for whole in layers:
            maps = whole.unflatten(0, (2, heads))[1].mean(dim=0)
            side = round(maps.shape[0] ** 0.5)
            centres, variances = [], []
            for positions in tokens:
                small = maps[:, list(positions)].mean(dim=1).reshape(1, 1, side, side)
                image = functional.interpolate(small, size=(64, 64), mode="bilinear", antialias=True)[0, 0]
                total = image.sum()
                x, y = (image * grid[None, :]).sum() / total, (image * grid[:, None]).sum() / total
                squares = (grid[None, :] - x) ** 2 + (grid[:, None] - y) ** 2
                centres.append((x, y))
                variances.append((image * squares).sum() / total)
            dx, dy = RELATIONS[predicate]
            distance = (centres[0][0] - centres[1][0]) * dx + (centres[0][1] - centres[1][1]) * dy
            other = variances[0] + variances[1] if level == "coarse" else (variances[0] - variances[1]).abs()
            every.append(functional.gelu(0.75 * (0.25 - distance)) + other)
    return torch.stack(every).mean()


def test_sdxl_has_presence_at_one_layer_and_balance_at_two(tokenizer: Any) -> None:
    levels = layers_of(make_sdxl(tokenizer).unet).levels
    assert [len(levels["coarse"]), len(levels["mid"])] == [1, 2]
    numbers = [int(name.split(".")[5]) for name in (*levels["coarse"], *levels["mid"])]
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("predicate", RELATIONS)
@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_loss_and_gradient_are_the_papers(tokenizer: Any, kind: str, predicate: str) -> None:
    pipeline = make_pipeline(tokenizer) if kind == "sd" else make_sdxl(tokenizer)
    unet, layers = pipeline.unet, layers_of(pipeline.unet)
    scene = SCENE.model_copy(update={"relations": (SCENE.relations[0].model_copy(update={"predicate": predicate}),)})
    tokens = bind(scene, [Encoding(tokenizer)])
    generator = torch.Generator().manual_seed(0)
    sample, text = torch.randn(1, 4, 16, 16, generator=generator), torch.randn(2, 77, 32, generator=generator)
    added = {"text_embeds": torch.randn(2, 16, generator=generator), "time_ids": torch.ones(2, 6)} if kind == "sdxl" else None

    leaf = sample.clone().requires_grad_()
    usual = unet.attn_processors
    recorded = {name: Recording() for name in usual}
    unet.set_attn_processor(dict(recorded))
    unet(leaf.repeat(2, 1, 1, 1), 500, text, added_cond_kwargs=added)
    seen = {level: [recorded[f"{name}.processor"].probabilities for name in names] for level, names in layers.levels.items()}
    loss = plain_loss(seen, heads=2, tokens=tokens, predicate=predicate)
    (gradient,) = torch.autograd.grad(loss, leaf)

    unet.set_attn_processor(usual)
    guide = SpatialGuide(preset="paper")
    ours = sample.clone().requires_grad_()
    conditional = {name: value[1:] for name, value in added.items()} if added else None
    with AttentionObserver(unet, layers) as observer:
        unet(ours, 500, text[1:], added_cond_kwargs=conditional)
    batch = SceneBatch.of([guide.plan(scene)], [tokens], 1, guide.terms)
    step = StepPlan(0, 0.0, 500.0, guided=True, biased=False, split=True, observed=True, ranked=False)
    scores = score(
        observer.maps(batch.tokens, Places((16, 16), joint=False)), batch, guide.config.guidance, step, watched=False
    )
    (found,) = torch.autograd.grad(scores.loss.sum(), ours)
    assert scores.loss.item() == pytest.approx(loss.item(), rel=1e-6)
    assert float((found - gradient).norm() / gradient.norm()) < 1e-5
