"""What the page offers: methods of guidance, models and why others are not, and pictures that carry what made them."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from spatialguide import SpatialGuide
from spatialguide.config import make_config
from spatialguide.errors import ConfigError
from spatialguide.pictures.png import DISPLAY_SIDE
from spatialguide.pictures.recipe import read_recipe
from spatialguide.web import fragments
from spatialguide.web.studio import Drawing, Studio, Wish
from spatialguide.web.wish import Try

PROMPT = "a cat to the left of a dog"


@pytest.fixture(scope="module")
def biased() -> Drawing:
    return Studio(make_config(steps=3), "short").draw(Wish(PROMPT, "dog above cat", "short", seed=5, method="bias"))


def test_a_method_can_be_chosen_and_is_said(biased: Drawing) -> None:
    assert biased.guided.metadata[0]["method"] == "bias"
    assert "method bias" in fragments.picture(biased.guided, "guided")
    assert "method" not in fragments.method(biased.unguided)
    assert "'method': 'bias'" in biased.code
    assert "method: bias" in biased.config
    assert biased.notes == ()


def test_a_bias_has_attention_pictures_and_curves(biased: Drawing) -> None:
    assert biased.steps == 3
    assert "<img" in fragments.maps(biased.guided, 1, "guided")
    assert "<img" in fragments.sheet(biased)
    assert "<img" in fragments.curves(biased)


def test_why_a_method_was_chosen_is_said(biased: Drawing) -> None:
    reason = biased.guided.trace.reason
    biased.guided.trace.reason = "gradients <cannot> run"
    try:
        assert "method bias: gradients &lt;cannot&gt; run" in fragments.method(biased.guided)
    finally:
        biased.guided.trace.reason = reason


@pytest.mark.parametrize(("method", "changes"), [(None, {}), ("gradient", {}), ("both", {"guidance": {"method": "both"}})])
def test_a_method_is_a_change_where_it_differs(method: str | None, changes: dict[str, Any]) -> None:
    studio = Studio()
    assert studio.changes(Wish(PROMPT, method=method), studio.preset("balanced")) == changes


def test_a_method_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"guidance\.method"):
        Studio().config(Wish(PROMPT, method="magic"))


def test_a_bias_without_loss_terms_is_guidance() -> None:
    drawing = Studio(make_config(steps=2), "short").draw(Wish(PROMPT, preset="short", terms=(), method="bias"))
    assert drawing.notes == ()
    assert drawing.unguided.images[0].tobytes() != drawing.guided.images[0].tobytes()
    assert fragments.curves(drawing)
    assert fragments.maps(drawing.guided, 1, "guided")


def test_a_saved_picture_replays(biased: Drawing, tmp_path: Path) -> None:
    link = re.search(r'href="data:image/png;base64,([^"]+)"', fragments.picture(biased.guided, "guided"))
    assert link is not None
    path = tmp_path / "guided.png"
    path.write_bytes(base64.b64decode(link[1]))
    recipe, _ = read_recipe(path)
    again = SpatialGuide(recipe.config)(recipe.prompt, seed=recipe.seed, scene=recipe.scene, guided=recipe.guided)
    assert again.images[0].tobytes() == biased.guided.images[0].tobytes()
    assert recipe.scene.describe() == "objects: dog, cat; relations: dog above cat"
    assert max(again.images[0].size) < DISPLAY_SIDE  # what is saved is enlarged, for people


def test_tries_are_buttons_the_newest_first(biased: Drawing) -> None:
    small = fragments.thumbnail(biased.guided.images[0])
    shown = fragments.tries([Try(1, biased.wish, small), Try(2, Wish('<b> "a cat"'), small)])
    assert re.findall(r'data-try="(\d)"', shown) == ["2", "1"]
    assert "<b>" not in shown
    assert fragments.tries([]) == ""


# --- models --------------------------------------------------------------------------------------------------------


def _cached(cache: Path, weights: bool) -> None:
    snapshot = cache / "models--stable-diffusion-v1-5--stable-diffusion-v1-5" / "snapshots" / "abc"
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    if weights:
        (snapshot / "unet" / "x.safetensors").write_bytes(b"")


@pytest.mark.parametrize("weights", [False, True])
def test_models_say_whether_they_are_here(weights: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.file_download

    _cached(tmp_path, weights)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.file_download, "HF_HUB_CACHE", str(tmp_path), raising=False)
    models = {model.name: model for model in Studio().models}
    assert next(iter(models)) == "tiny"
    assert (models["tiny"].offered, models["tiny"].here, models["tiny"].state) == (True, True, "installed")
    assert models["sd15"].here == weights
    assert models["sd15"].state.startswith("downloaded" if weights else "not downloaded yet")
    shown = fragments.offered(list(models.values()))
    assert shown.index("tiny") < shown.index("--all-models") < shown.index("sd15")
    assert not models["sd15"].offered
    assert "model" in models["unet"].state
    assert not models["unet"].here


def test_all_models_can_be_offered_and_folders_are_found(tmp_path: Path) -> None:
    everything = {model.name: model for model in Studio(all_models=True).models}
    assert all(model.offered for model in everything.values())
    mine = Studio(make_config(backend="sd15", backend_options={"model": str(tmp_path)}), "mine")
    found = {model.name: model for model in mine.models}
    assert (found["sd15"].offered, found["sd15"].here) == (True, True)
    gone = Studio(make_config(backend="sd15", backend_options={"model": str(tmp_path / "gone" / "a")}), "mine")
    state = next(model.state for model in gone.models if model.name == "sd15")
    assert "is not there" in state
    assert str(tmp_path) not in state  # visitors need not know


def test_a_pipeline_that_diffusers_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from spatialguide.models.loading import PipelineBackend

    monkeypatch.setattr(PipelineBackend, "pipeline_class", "NoSuchPipeline")
    models = {model.name: model for model in Studio().models}
    assert "needs a newer diffusers, with NoSuchPipeline" in models["flux"].state
    assert "NoSuchPipeline" in fragments.offered(list(models.values()))
