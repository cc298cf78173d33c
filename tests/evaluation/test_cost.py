"""The cost benchmark on an architecture in miniature; the full-size ones only by their numbers of parameters."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from rich.console import Console

from spatialguide.config import make_config
from spatialguide.evaluation import cost
from spatialguide.evaluation.architectures import ARCHITECTURES, Architecture, conditions, make_unet
from spatialguide.registry import Registry

CPU = torch.device("cpu")
SMALL = Architecture(
    {
        "block_out_channels": (16, 32, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "cross_attention_dim": 32,
        "norm_num_groups": 8,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 16 + 6 * 8,
    },
    side=16,
    text=32,
    prediction="v_prediction",
    pooled=16,
)


@pytest.mark.parametrize(("name", "millions"), [("sd15", 860), ("sd21", 866), ("sdxl", 2567)])
def test_architectures_are_as_large_as_published(name: str, millions: int) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**ARCHITECTURES[name].unet)
    assert round(sum(parameter.numel() for parameter in unet.parameters()) / 1e6) == millions


def test_random_weights_keep_signals_finite() -> None:
    unet = make_unet(SMALL, torch.float32, CPU)
    with torch.no_grad():
        output = unet(torch.randn(2, 4, 16, 16), 500, **conditions(SMALL, 2, torch.float32, CPU)).sample
    assert output.isfinite().all()
    assert 1e-3 < output.std() < 1e3


@pytest.mark.slow
def test_every_kind_of_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "small", SMALL)
    told: list[str] = []
    found = cost.measure("small", make_config("paper"), Registry(), rounds=2, images=2, device=CPU, say=told.append)
    kinds = ["plain", "strength 0", "guided", "guided, all layers"]
    kinds += ["bias", "bias and gradient", "guided, checkpointing"]
    assert told == 3 * kinds + [f"memory of {kind}" for kind in kinds]
    assert list(found.variants) == kinds[1:]
    assert found.plain.seconds > 0
    console = Console(width=160, record=True)
    console.print(cost.cost_table([found], "One step"))
    text = console.export_text()
    assert all(kind in text for kind in kinds)
