"""The examples and the documents' snippets run."""

from __future__ import annotations

import configparser
import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from diffusers.modular_pipelines import StableDiffusionXLAutoBlocks
from PIL import Image

from spatialguide import SpatialGuide, load_scene
from spatialguide.commands.config import checked
from spatialguide.config import GuidanceConfig, load_config, make_config, patched
from spatialguide.guidance.losses import make_terms
from spatialguide.registry import Registry, default_registry
from spatialguide.scenes.records import from_record, to_record

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs_and_writes_its_picture(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path))
    assert [p.suffix for p in tmp_path.iterdir()] == [".png"]


def snippets(document: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)


@pytest.mark.slow
def test_plugin_snippets_run_as_written() -> None:
    import types

    loss, use, relation, place, steering, backend, model, features, preset = snippets("docs/plugins.md")
    modules = []
    for number, text in enumerate((loss, relation, place, steering, backend, model, features, preset)):
        module = types.ModuleType(f"snippet_{number}")
        exec(compile(text, module.__name__, "exec", dont_inherit=True), module.__dict__)
        modules.append(module)
    registry = Registry()
    for module in modules:
        registry.add(module)
    assert "separation" in registry.names("losses")
    assert "up_left_of" in registry.relations()
    for prompt in ("a cat in the top left corner", "a cat to the left of a dog"):
        # A place in the picture is a relation of one object.
        SpatialGuide(registry=registry, steps=1, losses={"+separation": {}})(prompt)
    halves = SpatialGuide(registry=registry, steps=1, guidance={"method": "bias"}, steerings={"halves": {}})
    assert halves("a cat to the left of a dog").metadata[0]["method"] == "bias"
    scene = SpatialGuide(registry=registry).parse("a ship on the horizon, a gull up and left of the ship")
    assert [scene.sentence(edge) for edge in scene.relations] == ["ship in_region horizon", "gull up_left_of ship"]
    assert registry.get("models", "MyTransformer2DModel").text == "before"
    assert registry.get("backends", "dreamshaper")().generation.steps == 30
    assert SpatialGuide(registry=registry, preset="bold").config.steps == 40
    (maps,) = registry.get("features", "colours")().maps([Image.new("RGB", (20, 10), "red")])
    assert maps.shape == (1, 3, 8, 8)
    space = {"my_module": types.ModuleType("again")}
    exec(loss, space["my_module"].__dict__)
    exec(use, space)
    assert isinstance(space["guide"], SpatialGuide)


def test_the_plugin_pages_packaging_and_configuration_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry point is found as an installed distribution's, and its YAML switches the loss on."""
    (packaging,), (configuration,) = (snippets("docs/plugins.md", language) for language in ("toml", "yaml"))
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "my_module.py").write_text(snippets("docs/plugins.md")[0])
    entries = tomllib.loads(packaging)["project"]["entry-points"]
    about = tmp_path / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    sections = configparser.ConfigParser()
    sections.read_dict(entries)
    with (about / "entry_points.txt").open("w") as stream:
        sections.write(stream)
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    assert registry.origin("losses", "separation").distribution == "my-package"
    (tmp_path / "guide.yaml").write_text(configuration)
    terms = make_terms(SpatialGuide(load_config(tmp_path / "guide.yaml"), registry=registry).losses, registry)
    assert [term.name for term in terms] == [*make_config().losses, "separation"]
    assert (terms[-1].weight, terms[-1].term.distance) == (0.5, 0.3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pipeline_snippets_run(tiny_pipeline) -> None:
    compel = pytest.importorskip("compel")
    attach, modular, chunks = snippets("docs/pipelines.md")
    exec(attach, {"pipe": tiny_pipeline})
    words = "a cat to the left of a dog, " + "very " * 80 + "bright"
    space = {"pipe": tiny_pipeline, "guide": SpatialGuide(steps=1), "Compel": compel.Compel, "words": words}
    exec(chunks, space)
    assert isinstance(space["image"], Image.Image)
    space = {"blocks": StableDiffusionXLAutoBlocks()}
    exec(modular, space)
    assert type(space["pipe"].guider).__name__ == "SpatialGuidance"


@pytest.mark.slow
def test_readme_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_pipeline) -> None:
    monkeypatch.chdir(tmp_path)
    attach, bundled = snippets("README.md")
    exec(attach, {"pipe": tiny_pipeline})
    exec(bundled, {})
    assert (tmp_path / "giraffe.png").exists()


@pytest.mark.slow
def test_guides_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_pipeline) -> None:
    monkeypatch.chdir(tmp_path)
    for document in ("docs/index.md", "docs/guides/artist.md", "docs/guides/engineer.md", "docs/guides/researcher.md"):
        # One after another in the same place, as a reader would paste them.
        space = {"pipe": tiny_pipeline}
        for text in snippets(document):
            exec(text, space)
    assert (tmp_path / "maps.png").exists()


@pytest.mark.parametrize(
    ("document", "block"),
    [(name, text) for name in PAGES for text in snippets(name, "yaml") if not text.startswith("prompt:")],
)
def test_configurations_of_the_docs_are_valid(document: str, block: str, tmp_path: Path) -> None:
    """But for the terms of plugins that the page is about to make."""
    (tmp_path / "guide.yaml").write_text(block)
    config = load_config(tmp_path / "guide.yaml")
    known = default_registry().names("losses")
    others = set(config.losses) - set(known)
    assert others <= {"separation", "my_loss"}
    checked(config.model_copy(update={"losses": {name: term for name, term in config.losses.items() if name in known}}))


@pytest.mark.parametrize(
    ("document", "block"),
    [
        (name, text)
        for name in PAGES
        for language in ("yaml", "json")
        for text in snippets(name, language)
        if language == "json" or text.startswith("prompt:")
    ],
)
def test_scenes_of_the_docs_can_be_read(document: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "scene.yaml").write_text(block)
    scene = load_scene(tmp_path / "scene.yaml")
    assert {edge.predicate for edge in scene.relations} <= set(default_registry().relations())
    assert len(scene.relations) == len(yaml.safe_load(block)["relations"])
    assert from_record(to_record(scene)) == scene


def test_settings_within_the_docs_sentences_are_valid() -> None:
    """Such as `guidance.settle: false`, and names alone, such as `guidance.best_of`."""
    text = "".join((ROOT / page).read_text() for page in PAGES)
    found = re.findall(r"`(guidance\.\w+): ([^`]+)`", text)
    assert len(found) > 2
    for key, value in found:
        assert patched(make_config(), {key: yaml.safe_load(value)})
    assert set(re.findall(r"`guidance\.(\w+)", text)) <= set(GuidanceConfig.model_fields)
