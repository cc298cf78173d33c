"""examples/integrations: against stand-ins for their hosts, written from the hosts' public sources."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
import yaml
from diffusers import EulerDiscreteScheduler
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.modular_pipelines import ModularPipelineBlocks, StableDiffusionXLAutoBlocks
from families import make_family
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTokenizer

from spatialguide import SpatialGuidance, SpatialGuide, SpatialGuideError

FOLDER = Path(__file__).parent.parent / "examples" / "integrations"
PROMPT = "a red cat to the left of a dog"


@pytest.fixture
def loaded() -> Iterator[Callable[..., ModuleType]]:
    """Loads a file as its host does, by its path; what was loaded is gone after the test."""
    names = []

    def load(path: str, name: str, package: bool = False) -> ModuleType:
        names.append(name)
        folders = [str((FOLDER / path).parent)] if package else None
        spec = importlib.util.spec_from_file_location(name, FOLDER / path, submodule_search_locations=folders)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in [each for each in sys.modules if each.partition(".")[0] in names]:
        del sys.modules[name]


# ComfyUI: comfy/sd1_clip.py (tokens), comfy/model_patcher.py (clone), comfy/ldm/modules/attention.py (the override)


class Clip:
    """Tokens in rows of 77, each with its weight and its word's number, 0 for what is no word; a key per text encoder."""

    def __init__(self, tokenizer: CLIPTokenizer, names: str = "l") -> None:
        self._tokenizer, self._names = tokenizer, names.split()

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, list[list[tuple[int, float, int]]]]:
        assert return_word_ids
        start, end = self._tokenizer("")["input_ids"][:2]
        words = [self._tokenizer(word)["input_ids"][1:-1] for word in text.split()]
        tokens = [(token, 1.0, number + 1) for number, word in enumerate(words) for token in word]
        rows = [tokens[first : first + 75] for first in range(0, max(1, len(tokens)), 75)]
        filled = [[(start, 1.0, 0), *row, *[(end, 1.0, 0)] * (76 - len(row))] for row in rows]
        return dict.fromkeys(self._names, filled)


class Model:
    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self.model_options = options or {"transformer_options": {}}

    def clone(self) -> Model:
        return Model(deepcopy(self.model_options))


def attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor | None = None, **options: Any) -> Tensor:
    """One head is enough here; a mask of three axes is (images, pixels, words)."""
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


def attend(model: Model, step: int = 0, side: tuple[int, int] = (8, 8), words: int = 77, **more: Any) -> Tensor:
    """What a UNet's layer gets: for [uncond, cond] each word's share of every pixel's attention."""
    schedule = torch.linspace(14.0, 0.0, 11)
    options = model.model_options["transformer_options"] | {
        "activations_shape": [2, 4, *side],
        "cond_or_uncond": [1, 0],
        "sigmas": schedule[step : step + 1].expand(2),
        "sample_sigmas": schedule,
    }
    torch.manual_seed(0)
    queries, keys = torch.randn(2, side[0] * side[1], 16), torch.randn(2, words, 16)
    override = options.get("optimized_attention_override")
    values = torch.eye(words).expand(2, words, words)
    if override is None:
        return attention(queries, keys, values, 1, transformer_options=options, **more)
    found = override(attention, queries, keys, values, 1, transformer_options=options, **more)
    assert isinstance(found, Tensor)
    return found


@pytest.fixture
def pack(loaded: Any) -> ModuleType:
    return loaded("comfyui/__init__.py", "pack", package=True)


def make_node(pack: ModuleType, clip: Clip, prompt: str = PROMPT, model: Model | None = None) -> tuple[Model, Any]:
    scene, text, _ = pack.NODE_CLASS_MAPPINGS["SpatialScene"]().read(prompt)
    assert "{" not in text
    (steered,) = pack.NODE_CLASS_MAPPINGS["SpatialBias"]().patch(model or Model(), clip, scene, 2.0, 0.4)
    return steered, scene


def test_comfyui_knows_the_nodes_by_their_declarations(pack: ModuleType) -> None:
    for name, node in pack.NODE_CLASS_MAPPINGS.items():
        assert pack.NODE_DISPLAY_NAME_MAPPINGS[name]
        assert callable(getattr(node, node.FUNCTION))
        assert set(node.INPUT_TYPES()) == {"required"}
        assert len(node.RETURN_TYPES) >= 1


@pytest.mark.parametrize("side", [(8, 8), (12, 4)])
def test_comfyui_words_are_drawn_into_their_boxes(pack: ModuleType, tokenizer: CLIPTokenizer, side: tuple[int, int]) -> None:
    steered, scene = make_node(pack, Clip(tokenizer))
    plain, found = attend(Model(), side=side), attend(steered, side=side)
    assert torch.equal(plain[0], found[0]), "the negative prompt's row is left alone"
    text = tokenizer(PROMPT)["input_ids"]
    y, x = ((torch.arange(count) + 0.5) / count for count in side)
    for word, (left, top, right, bottom) in zip(("cat", "dog"), scene.boxes, strict=True):
        inside = (((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))).flatten()
        place = text.index(tokenizer(word)["input_ids"][1])
        assert (found[1, inside, place] > plain[1, inside, place]).all()
        assert found[1, inside, place].mean() > 2 * plain[1, inside, place].mean()
        assert found[1, ~inside, place].mean() < plain[1, ~inside, place].mean() / 2


def test_comfyui_steers_nothing_else(pack: ModuleType, tokenizer: CLIPTokenizer) -> None:
    steered, _ = make_node(pack, Clip(tokenizer))
    others: list[dict[str, Any]] = [
        {"step": 4},  # of ten: after 40%
        {"words": 64},  # self-attention
        {"words": 80},  # another's words, such as an image prompt's
        {"mask": torch.zeros(2, 64, 77)},  # masked by another node
    ]
    for case in others:
        assert torch.equal(attend(Model(), **case), attend(steered, **case)), case
    assert not torch.equal(attend(Model(), step=3), attend(steered, step=3))
    assert not torch.equal(attend(Model(), words=154), attend(steered, words=154)), "a prompt that ComfyUI repeated"


def test_comfyui_keeps_the_override_that_was_there(pack: ModuleType, tokenizer: CLIPTokenizer) -> None:
    asked = []

    def before(inner: Any, *args: Any, **options: Any) -> Tensor:
        asked.append(options["mask"].shape)
        return inner(*args, **options)

    model = Model({"transformer_options": {"optimized_attention_override": before}})
    steered, _ = make_node(pack, Clip(tokenizer), model=model)
    attend(steered)
    assert asked == [(2, 64, 77)]
    assert model.model_options["transformer_options"]["optimized_attention_override"] is before


def test_comfyui_finds_the_second_of_two_and_words_after_75(pack: ModuleType, tokenizer: CLIPTokenizer) -> None:
    clip = Clip(tokenizer, "l g")
    scene = SpatialGuide().parse(f"a cat, {'very ' * 80} big dog right of the cat, a tree left of another cat")
    found, length = pack.steering.positions(clip, scene)
    rows = [token for row in clip.tokenize(scene.prompt, True)["l"] for token, _, _ in row]
    assert length == len(rows) > 77
    for item, places in zip(scene.objects, found, strict=True):
        assert tokenizer.decode([rows[place] for place in places]).strip() == item.text
    assert len({tuple(places) for places in found}) == len(scene.objects) == 4


def test_comfyui_refuses_what_it_cannot_steer(pack: ModuleType, tokenizer: CLIPTokenizer) -> None:
    with pytest.raises(ValueError, match=r"Stable Diffusion 1, 2 and XL; this CLIP has the encoders \['l', 't5xxl'\]"):
        make_node(pack, Clip(tokenizer, "l t5xxl"))
    with pytest.raises(SpatialGuideError, match="cannot hold together"):
        make_node(pack, Clip(tokenizer), "a cat left of a dog and the dog left of the cat")
    model = Model()
    assert make_node(pack, Clip(tokenizer), "a cat", model)[0] is model


def test_comfyui_shows_the_boxes(pack: ModuleType) -> None:
    _, text, picture = pack.NODE_CLASS_MAPPINGS["SpatialScene"]().read("a cat and a dog {{cat above dog}}")
    assert text == "a cat and a dog"
    assert picture.shape == (1, 512, 512, 3)
    assert 0 <= picture.min() < picture.max() == 1
    upper, lower = picture[0].chunk(2)
    assert (upper < 1).any()
    assert (lower < 1).any()


# SD.Next: modules/scripts_manager.py, modules/processing_diffusers.py


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, random_pipeline: Any) -> SimpleNamespace:
    """Encodes the prompt itself, sets the sampler anew, and calls the pipeline with embeddings, without gradients."""
    said: list[str] = []
    shared = SimpleNamespace(sd_model=random_pipeline)

    def process_images(request: Any) -> Tensor:
        pipe = shared.sd_model
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
        with torch.no_grad():
            positive, negative = pipe.encode_prompt([request.prompt] * request.batch_size, "cpu", 1, True)
            embeds = {"prompt_embeds": positive, "negative_prompt_embeds": negative}
            generator = [torch.Generator().manual_seed(seed) for seed in range(request.batch_size)]
            drawn = pipe(**embeds, num_inference_steps=4, generator=generator, output_type="latent").images
        assert isinstance(drawn, Tensor)
        return drawn

    modules = {
        "modules": ModuleType("modules"),
        "modules.scripts_manager": SimpleNamespace(Script=object),
        "modules.processing": SimpleNamespace(process_images=process_images),
        "modules.shared": shared,
        "modules.logger": SimpleNamespace(log=SimpleNamespace(warning=said.append, info=said.append)),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
        if "." in name:
            monkeypatch.setattr(modules["modules"], name.partition(".")[2], module, raising=False)
    return SimpleNamespace(process=process_images, said=said, shared=shared)


def wanted(prompt: str) -> SimpleNamespace:
    return SimpleNamespace(prompt=prompt, batch_size=2, extra_generation_params={})


def test_sdnext_draws_guided_and_leaves_the_pipeline_as_it_was(host: SimpleNamespace, loaded: Any) -> None:
    script = loaded("sdnext/spatialguide_ext.py", "sdnext_script").Script()
    request = wanted("a cat to the left of a dog")
    plain = host.process(request)
    guided = script.run(request, 2.0, 0.5)
    assert guided.shape == plain.shape
    assert not any(torch.equal(one, other) for one, other in zip(plain, guided, strict=True))
    assert torch.equal(host.process(request), plain)
    assert request.extra_generation_params == {"Spatial guidance": "strength=2.0 stop=0.5"}
    assert host.said == ["Spatial guidance: 2 guided steps; objects: cat, dog; relations: cat left_of dog"]
    assert (script.show(False), script.show(True)) == (True, False)


def test_sdnext_draws_without_where_it_cannot_guide(host: SimpleNamespace, loaded: Any) -> None:
    script = loaded("sdnext/spatialguide_ext.py", "sdnext_script").Script()
    assert script.run(wanted("a cat left of a dog and the dog left of the cat"), 2.0, 0.5) is None
    host.shared.sd_model = object()
    assert script.run(wanted("a cat left of a dog"), 2.0, 0.5) is None
    assert "cannot hold together" in host.said[0]
    assert "has no unet" in host.said[1]


# A Hugging Face Space: ZeroGPU runs a decorated function in another process


def test_the_space_draws_through_what_zerogpu_can_hand_over(monkeypatch: pytest.MonkeyPatch, loaded: Any) -> None:
    lent = []

    def borrowed(duration: int) -> Any:
        def decorate(function: Any) -> Any:
            def call(*args: Any) -> Any:
                lent.append(duration)
                return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(args)))))

            return call

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=borrowed))
    app = loaded("space/app.py", "space_app")
    wish = app.Wish("a cat to the left of a dog", steps=2, seed=3)
    drawing = app.studio.draw(wish, lambda what, done, total: None)
    assert lent == [60]
    assert drawing.guided.images[0].size == drawing.unguided.images[0].size
    assert len(drawing.guided.trace.steps) > 0


def test_the_spaces_front_matter_names_versions_that_are_tried() -> None:
    front = yaml.safe_load((FOLDER / "space" / "README.md").read_text().split("---")[1])
    pins = (FOLDER.parent.parent / "constraints.txt").read_text().splitlines()
    assert f"gradio=={front['sdk_version']}" in pins
    assert (FOLDER / "space" / front["app_file"]).exists()
    assert (FOLDER / "space" / "requirements.txt").read_text() == "spatialguide[web]\n"


# Modular diffusers


def test_the_modular_block_is_loaded_by_diffusers_and_guides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tokenizer: CLIPTokenizer
) -> None:
    monkeypatch.setattr(diffusers.utils.dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path))
    block = ModularPipelineBlocks.from_pretrained(str(FOLDER / "modular"), trust_remote_code=True)
    block.save_pretrained(tmp_path / "saved")
    kept = [json.loads((folder / "modular_config.json").read_text()) for folder in (FOLDER / "modular", tmp_path / "saved")]
    assert kept[0] == kept[1]
    blocks = StableDiffusionXLAutoBlocks()
    blocks.sub_blocks.insert("spatial", block, 0)
    pipeline = blocks.init_pipeline()
    names = {spec.name for spec in blocks.expected_components}
    parts = {
        name: part for name, part in make_family("sdxl", tokenizer).components.items() if name in names and part is not None
    }
    guider = SpatialGuidance(ClassifierFreeGuidance(guidance_scale=5.0))
    pipeline.update_components(**parts, guider=guider)
    pipeline.set_progress_bar_config(disable=True)
    pipeline(prompt="a cat to the left of a dog", num_inference_steps=3, height=64, width=64, output_type="latent")
    assert [step.index for step in guider.trace.steps] == [0, 1]
    sys.path_importer_cache.pop(str(tmp_path), None)
