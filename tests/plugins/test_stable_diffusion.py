"""Backends for real pipelines, loaded from folders of small random ones that the tests save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import layers_of, make_pipeline, make_sdxl, make_vae
from diffusers.utils import convert_state_dict_to_diffusers
from original_format import save_original

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError
from spatialguide.registry import Registry

PROMPT = "a cat to the left of a dog"
SIZE = {"width": 32, "height": 32, "steps": 2, "guidance": {"window": (0.0, 1.0), "patience": None}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pipelines")
    found = {name: place / name for name in ("sd", "v", "sdxl")}
    make_pipeline(tokenizer).save_pretrained(found["sd"])
    make_pipeline(tokenizer, "v_prediction").save_pretrained(found["v"])
    make_sdxl(tokenizer).save_pretrained(found["sdxl"])
    return found


def guide_of(backend: str, folder: Path, **options: Any) -> SpatialGuide:
    return SpatialGuide(backend=backend, backend_options={"model": str(folder), "local_files_only": True, **options}, **SIZE)


@pytest.mark.parametrize(
    ("backend", "kind"),
    [("sd15", "sd"), ("sd21", "sd"), ("sd21_768", "v"), ("sdxl", "sdxl"), ("unet", "sd"), ("unet", "sdxl")],
)
def test_a_folder_is_loaded_and_guided(folders: dict[str, Path], backend: str, kind: str) -> None:
    guide = guide_of(backend, folders[kind])
    plain, guided = guide(PROMPT, guided=False), guide(PROMPT)
    assert len(guided.trace.steps) == 2
    assert guided.trace.skipped == 0
    assert guided.images[0].size == (32, 32)
    assert not np.array_equal(np.asarray(plain.images[0]), np.asarray(guided.images[0]))


def test_both_text_encoders_of_sdxl_are_bound(folders: dict[str, Path]) -> None:
    guide = guide_of("sdxl", folders["sdxl"])
    layers = layers_of(guide.pipeline.unet)
    names = [f"up_blocks.0.attentions.1.transformer_blocks.{n}.attn2" for n in (1, 2, 3)]
    assert [*layers.levels["coarse"], *layers.levels["mid"]] == names


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"dtype": "bfloat16"}, {"channels_last": True}, {"attention_slicing": True}, {"fused_projections": True}]
)
def test_options_that_change_nothing_but_the_cost(folders: dict[str, Path], options: dict[str, Any]) -> None:
    guide = guide_of("sd15", folders["sd"], **options)
    result = guide(PROMPT)
    assert result.trace.skipped == 0
    assert len(result.trace.steps) == 2
    usual = np.asarray(guide_of("sd15", folders["sd"])(PROMPT).images[0]).astype(int)
    assert np.abs(np.asarray(result.images[0]).astype(int) - usual).mean() < 3


def test_a_size_of_none_is_the_pipelines_own(folders: dict[str, Path]) -> None:
    options = {"model": str(folders["sd"]), "local_files_only": True}
    assert SpatialGuide(backend="unet", backend_options=options, steps=1)(PROMPT).images[0].size == (64, 64)


def test_textual_inversion_and_channels(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"<sks>": torch.randn(32)}, tmp_path / "sks.safetensors")
    guide = guide_of("sd15", folders["sd"], textual_inversions=[str(tmp_path / "sks.safetensors")])
    assert "<sks>" in guide.pipeline.tokenizer.get_vocab()
    assert guide("a <sks> cat to the left of a dog").trace.steps


@pytest.mark.parametrize("backend", ["sd15", "unet"])
def test_a_single_file_in_the_original_layout(tokenizer, tmp_path: Path, backend: str) -> None:
    pipeline = make_pipeline(tokenizer)
    pipeline.vae = make_vae()
    pipeline.save_pretrained(tmp_path / "parts")
    save_original(pipeline, tmp_path / "model.safetensors")
    single = guide_of(backend, tmp_path / "model.safetensors", config=str(tmp_path / "parts"))
    for name in ("unet", "text_encoder", "vae"):
        loaded, saved = getattr(single.pipeline, name).state_dict(), getattr(pipeline, name).state_dict()
        assert loaded.keys() == saved.keys()
        assert all(torch.equal(loaded[key], saved[key]) for key in saved), name
    whole = guide_of(backend, tmp_path / "parts")
    for guide in (single, whole):
        for name in ("unet", "text_encoder", "vae"):
            # Mapped from a file, weights lie at whatever address they have there, and kernels round by it.
            for weight in getattr(guide.pipeline, name).parameters():
                weight.data = weight.data.clone()
    assert np.array_equal(np.asarray(single(PROMPT).images[0]), np.asarray(whole(PROMPT).images[0]))


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "kind", "fuse"), [("sd15", "sd", False), ("sd15", "sd", True), ("sdxl", "sdxl", False)])
def test_loras_are_loaded_weighted_and_fused(
    folders: dict[str, Path], tmp_path: Path, backend: str, kind: str, fuse: bool
) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = guide_of(backend, folders[kind]).pipeline
    torch.manual_seed(0)
    pipeline.unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
    pipeline.save_lora_weights(tmp_path, unet_lora_layers=layers)
    lora = {"model": str(tmp_path), "weight_name": "pytorch_lora_weights.safetensors"}
    plain = guide_of(backend, folders[kind])(PROMPT)
    styled = guide_of(backend, folders[kind], loras=[{**lora, "weight": 0.7}], fuse_loras=fuse)(PROMPT)
    nothing = guide_of(backend, folders[kind], loras=[{**lora, "weight": 0.0}], fuse_loras=fuse)(PROMPT)
    assert len(styled.trace.steps) == 2
    assert styled.trace.skipped == 0
    pixels = [np.asarray(result.images[0]).astype(int) for result in (plain, styled, nothing)]
    assert not np.array_equal(pixels[0], pixels[1])
    assert np.abs(pixels[0] - pixels[2]).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float8"}, "backend_options: 'dtype'"),
        ({"modell": "x"}, "unknown key 'modell'. Did you mean 'model'"),
        ({"loras": [{"path": "x"}]}, "backend_options: 'loras.0.model'"),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        _ = SpatialGuide(backend="sd15", backend_options=options).backend
    assert message in str(error.value)


def test_a_model_is_needed_and_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backend_options: 'model'"):
        _ = SpatialGuide(backend="unet").backend
    options = {"model": str(tmp_path / "none"), "local_files_only": True}
    with pytest.raises(ConfigError, match=r"backend_options: model '.*none' cannot be loaded .*; give a folder or a hub id"):
        SpatialGuide(backend="sd15", backend_options=options)(PROMPT)


def test_what_this_machine_cannot_do_is_named(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"RuntimeError: .*abacus; .* options that this machine can do"):
        _ = guide_of("sd15", folders["sd"], device="abacus").pipeline


def test_a_single_file_that_does_not_say_its_pipeline_is_refused(tmp_path: Path) -> None:
    for backend in ("unet", "pixart_alpha"):
        with pytest.raises(ConfigError, match=r"is a single file, which .* cannot read: choose the backend"):
            _ = SpatialGuide(backend=backend, backend_options={"model": str(tmp_path / "model.safetensors")}).pipeline


def test_every_backend_is_registered() -> None:
    assert {"tiny", "sd15", "sd21", "sd21_768", "sdxl", "unet"} <= set(Registry().names("backends"))
