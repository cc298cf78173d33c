from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import layers_of
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from spatialguide.contracts import Layers
from spatialguide.errors import UnsupportedPipelineError
from spatialguide.guidance.attention import AttentionObserver, ObjectTokens, Places, Seen, find_layer, grid_of, object_maps
from spatialguide.guidance.layers import default_layers
from spatialguide.guidance.models import ModelFacts, facts_of


def test_maps_equal_the_layers_own_probabilities(random_pipeline: StableDiffusionPipeline) -> None:
    unet = random_pipeline.unet
    layers = layers_of(unet)
    seen = {}

    class Spy(AttnProcessor):
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
            seen[self.name] = attn.get_attention_scores(query, key).unflatten(0, (-1, attn.heads)).mean(dim=1)
            return AttnProcessor()(attn, hidden_states, encoder_hidden_states, **kwargs)

    sample, text = torch.randn(2, 4, 16, 24), torch.randn(2, 77, 32)
    usual = unet.attn_processors
    for _, name in layers:
        find_layer(unet, name).set_processor(Spy(name))
    unet(sample, 10, text)
    unet.set_attn_processor(usual)
    with AttentionObserver(unet, layers) as observer:
        unet(sample, 10, text)
    tokens = ((2, 3), (5,))
    maps = observer.maps(ObjectTokens([tokens] * 2), Places((16, 24), joint=False))
    assert [m.level for m in maps] == [level for level, _ in layers]
    for observed, (_, name) in zip(maps, layers, strict=True):
        expected = torch.stack([seen[name][..., 2:4].mean(dim=-1), seen[name][..., 5]], dim=1)
        assert torch.allclose(observed.maps.flatten(2), expected, atol=1e-6)
        assert observed.maps.shape[-1] * 2 == observed.maps.shape[-2] * 3


def test_observing_changes_nothing_and_leaves_nothing_behind(random_pipeline: StableDiffusionPipeline) -> None:
    unet = random_pipeline.unet
    sample, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    with torch.no_grad():
        plain = unet(sample, 10, text).sample
        with AttentionObserver(unet, layers_of(unet)):
            observed = unet(sample, 10, text).sample
        assert not torch.is_grad_enabled()
    assert torch.equal(plain, observed)
    assert not any(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in unet.modules())


def test_there_is_no_graph_after_the_last_observed_layer(random_pipeline: StableDiffusionPipeline) -> None:
    unet = random_pipeline.unet
    sample = torch.randn(1, 4, 16, 16, requires_grad=True)
    with torch.no_grad(), AttentionObserver(unet, layers_of(unet)) as observer:
        output = unet(sample, 10, torch.randn(1, 77, 32)).sample
    assert not output.requires_grad
    (maps, *_) = observer.maps(ObjectTokens([((1,),)]), Places((16, 16), joint=False))
    (gradient,) = torch.autograd.grad(maps.maps.square().sum(), sample)
    assert gradient.abs().sum() > 0


def test_gradient_checkpointing_does_not_record_twice(random_pipeline: StableDiffusionPipeline) -> None:
    unet = random_pipeline.unet
    sample, text = torch.randn(1, 4, 16, 16, requires_grad=True), torch.randn(1, 77, 32)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            unet.enable_gradient_checkpointing()
        with AttentionObserver(unet, layers_of(unet)) as observer:
            unet(sample, 10, text)
            with torch.enable_grad():
                maps = observer.maps(ObjectTokens([((1,), (2,))]), Places((16, 16), joint=False))
                total = sum((layer.maps.square().sum() for layer in maps), torch.zeros(()))
                # The backward inside the block: it runs the observed layers again while the hooks are in place.
                gradients.append(torch.autograd.grad(total, sample)[0])
    assert torch.allclose(*gradients, atol=1e-6)


def test_decoder_layers_are_the_two_coarsest_levels(random_pipeline: StableDiffusionPipeline) -> None:
    levels = layers_of(random_pipeline.unet).levels
    assert list(levels) == ["coarse", "mid"]
    assert all(name.startswith("up_blocks.0.") for name in levels["coarse"])
    assert all(name.startswith("up_blocks.1.") for name in levels["mid"])


def test_layers_of_stable_diffusion_are_the_papers() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    assert layers_of(unet).levels == {
        level: tuple(f"up_blocks.{block}.attentions.{i}.transformer_blocks.0.attn2" for i in range(3))
        for level, block in (("coarse", 1), ("mid", 2))
    }


def test_layers_of_sdxl_are_sampled_as_in_the_paper() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(1, 2, 4),
            cross_attention_dim=64,
        )
    first, *others = (f"up_blocks.0.attentions.1.transformer_blocks.{i}.attn2" for i in (1, 2, 3))
    assert layers_of(unet).levels == {"coarse": (first,), "mid": tuple(others)}


def _distilled_sdxl(down: list[int], up: list[Any]) -> UNet2DConditionModel:
    """SDXL's shape with fewer transformer layers and none in the middle, narrower than in life."""
    return UNet2DConditionModel(
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=down,
        reverse_transformer_layers_per_block=up,
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=64,
    )


def _distilled_sd(mid_block: str | None) -> UNet2DConditionModel:
    """SD 1.5's shape with one layer in each encoder block and two in each decoder block."""
    widths = (32, 64, 128, 128)
    return UNet2DConditionModel(
        block_out_channels=widths, layers_per_block=1, mid_block_type=mid_block, cross_attention_dim=64, attention_head_dim=8
    )


@pytest.mark.parametrize(
    ("make", "coarse", "mid"),
    [
        pytest.param(
            lambda: _distilled_sdxl([0, 2, 4], [[4, 4, 10], [2, 1, 1], 1]),
            [("0.attentions.1", 1)],
            [("0.attentions.1", i) for i in (2, 3)],
            id="SSD-1B",
        ),
        pytest.param(
            lambda: _distilled_sdxl([0, 1, 2], [[2, 2, 2], [1, 1, 1], 1]),
            [(f"0.attentions.{i}", j) for i in range(3) for j in range(2)],
            [(f"1.attentions.{i}", 0) for i in range(3)],
            id="Segmind Vega",
        ),
        pytest.param(
            lambda: _distilled_sd("UNetMidBlock2DCrossAttn"),
            [(f"1.attentions.{i}", 0) for i in range(2)],
            [(f"2.attentions.{i}", 0) for i in range(2)],
            id="Segmind small-sd",
        ),
        pytest.param(
            lambda: _distilled_sd(None),
            [(f"1.attentions.{i}", 0) for i in range(2)],
            [(f"2.attentions.{i}", 0) for i in range(2)],
            id="Segmind tiny-sd",
        ),
    ],
)
def test_layers_of_distilled_models(
    make: Callable[[], UNet2DConditionModel], coarse: list[tuple[str, int]], mid: list[tuple[str, int]]
) -> None:
    with torch.device("meta"):
        unet = make()
    found = layers_of(unet)
    for level, wanted in (("coarse", coarse), ("mid", mid)):
        assert found.levels[level] == tuple(f"up_blocks.{place}.transformer_blocks.{i}.attn2" for place, i in wanted)
    assert all(find_layer(unet, name).is_cross_attention for _, name in found)


def test_a_denoiser_without_cross_attention_is_refused() -> None:
    with pytest.raises(UnsupportedPipelineError, match="has no layers called nowhere in which pixels attend to text"):
        default_layers(nn.Linear(1, 1), ModelFacts("Linear", "none", "nowhere"))
    with pytest.raises(
        UnsupportedPipelineError, match="nothing is known of the denoiser Linear, and it has no attention layers"
    ):
        facts_of(nn.Linear(1, 1))


def test_wrong_layer_names_are_refused(random_pipeline: StableDiffusionPipeline) -> None:
    unet = random_pipeline.unet
    with pytest.raises(UnsupportedPipelineError, match="has no layer 'nowhere'"):
        AttentionObserver(unet, Layers({"coarse": ("nowhere",)})).__enter__()
    with pytest.raises(UnsupportedPipelineError, match="is no attention layer"):
        find_layer(unet, "conv_in")


@pytest.mark.parametrize(
    ("pixels", "size", "grid"),
    [(256, (64, 64), (16, 16)), (96, (64, 96), (8, 12)), (6, (9, 5), (3, 2)), (45, (9, 5), (9, 5))],
)
def test_grids_follow_the_sample(pixels: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert grid_of(pixels, size) == grid


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UnsupportedPipelineError, match="7 pixels does not fit a sample of 4x4"):
        grid_of(7, (4, 4))


def test_object_maps_are_float32_in_half_precision() -> None:
    seen = Seen(torch.randn(1, 2, 16, 4).half(), torch.randn(1, 2, 5, 4).half())
    maps = object_maps(seen, ObjectTokens([((0,), (1, 2))]), Places((4, 4), joint=False))
    assert maps.dtype == torch.float32
    assert maps.shape == (1, 2, 16)
