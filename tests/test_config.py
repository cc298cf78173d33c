from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from spatialguide.commands.config import checked, commented, config_schema
from spatialguide.config import SETS, GuidanceConfig, GuideConfig, load_config, make_config, patched, presets
from spatialguide.contracts import LossTerm
from spatialguide.errors import ConfigError, UnknownPluginError
from spatialguide.guidance.losses import make_terms
from spatialguide.guidance.steering import make_steers
from spatialguide.guide import SpatialGuide
from spatialguide.hookspecs import hookimpl
from spatialguide.registry import Registry, default_registry
from spatialguide_plugins.backends.stable_diffusion import FAMILIES


def test_keywords_and_yaml_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "guide.yaml"
    path.write_text("steps: 12\nguidance:\n  strength: 2.0\nlosses:\n  alignment: {weight: 2, margin: 0.1}\n")
    keywords = make_config(steps=12, guidance={"strength": 2.0}, losses={"alignment": {"weight": 2, "margin": 0.1}})
    assert load_config(path) == keywords
    assert keywords.losses["alignment"].options == {"margin": 0.1}


@pytest.mark.parametrize("preset", presets())
def test_presets_are_valid(preset: str) -> None:
    assert isinstance(make_config(preset), GuideConfig)


def test_paper_preset_has_the_papers_figures() -> None:
    config = make_config("paper")
    assert (config.guidance.mode, config.guidance.strength, config.guidance.window) == ("paper", 1000.0, (0.0, 1.0))
    assert config.guidance.map_size == 64
    assert (config.steps, config.scheduler, config.guidance.average) == (50, "DDPMScheduler", "layers")
    # The guidance scale is the model's usual one, as in the published code.
    scales = {name: family.generation.guidance_scale for name, family in FAMILIES.items()}
    assert config.guidance_scale is None
    assert (scales["sd15"], scales["sd21"], scales["sdxl"]) == (7.5, 7.5, 5.0)
    assert config.scheduler_options == {"timestep_spacing": "trailing"}
    assert {name: term.weight for name, term in config.losses.items()} == {"alignment": 1, "presence": 1, "balance": 1}
    assert config.losses["alignment"].options["alpha"] == 0.75
    assert config.losses["alignment"].options["margin"] == 0.25
    assert config.losses["presence"].options["levels"] == ("coarse",)
    assert config.losses["balance"].options["levels"] == ("mid",)


def test_sections_merge_with_the_preset_key_by_key() -> None:
    config = make_config("paper", guidance={"strength": 500.0})
    assert (config.guidance.mode, config.guidance.strength) == ("paper", 500.0)


def test_naming_the_losses_states_the_whole_set() -> None:
    assert list(make_config("paper", losses={"presence": {}}).losses) == ["presence"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", "unknown key 'stepz'. Did you mean 'steps'?"),
        ("guidance: {strenght: 3}", "unknown key 'guidance.strenght'. Did you mean 'strength'?"),
        ("steps: many", "'steps'"),
        ("guidance: {window: [0.5, 0.2]}", "window must be two fractions"),
        ("preset: papper", "Did you mean 'paper'?"),
        ("- 1", "must hold keys and values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_files_name_the_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "guide.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read configuration"):
        load_config(tmp_path / "none.yaml")


def test_a_written_configuration_is_the_preset(tmp_path: Path) -> None:
    registry = default_registry()
    for preset in presets():
        path = tmp_path / f"{preset}.yaml"
        path.write_text(f"preset: {preset}\n{commented(make_config(preset))}", encoding="utf-8")
        written, wanted = load_config(path), make_config(preset)
        assert written.model_dump(exclude={*SETS}) == wanted.model_dump(exclude={*SETS})
        assert make_terms(written.losses, registry) == make_terms(wanted.losses, registry)
        assert make_steers(written.steerings, registry) == make_steers(wanted.steerings, registry)
        text = path.read_text(encoding="utf-8")
        assert "  # How strong a correction is" in text
        assert all(len(line) <= 128 for line in text.splitlines())


def test_every_key_says_what_it_is() -> None:
    for model in (GuideConfig, GuidanceConfig):
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_the_schema_knows_what_the_loader_knows() -> None:
    schema = config_schema()
    assert schema["properties"]["preset"]["enum"] == list(presets())
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"preset", *GuideConfig.model_fields}
    assert set(schema["$defs"]["GuidanceConfig"]["properties"]) == set(GuidanceConfig.model_fields)


def test_the_schema_holds_every_loss_with_its_options() -> None:
    losses = config_schema()["properties"]["losses"]
    registry = default_registry()
    assert set(losses["properties"]) == set(registry.names("losses"))
    assert losses["additionalProperties"] is False
    for name, term in losses["properties"].items():
        assert set(term["properties"]) == {"weight", *registry.get("losses", name).model_fields}
        assert term["additionalProperties"] is False


def test_a_written_configuration_lists_every_loss_and_steering_with_its_options() -> None:
    head, rest = commented(make_config()).split("losses:\n")
    assert set(yaml.safe_load(head)) == set(GuideConfig.model_fields) - {"losses", "steerings"}
    terms, steerings = re.split(r"\n\n.*steerings:\n", rest, flags=re.DOTALL)
    registry = default_registry()
    for kind, text in (("losses", terms), ("steerings", steerings)):
        everything = yaml.safe_load(text.replace("# ", ""))
        assert set(everything) == set(registry.names(kind))
        for name, options in everything.items():
            assert set(options) == {"weight", *registry.get(kind, name).model_fields}


def test_terms_that_need_an_option_or_hold_models_are_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(BaseModel):
        size: float = 1.0

    class Needy(LossTerm):
        needed: int
        inner: Inner = Inner()

        def __call__(self, *args: Any) -> Any: ...

    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Any) -> None:
            register("needy", Needy)

    registry = Registry()
    registry.add(Plugin())
    monkeypatch.setattr("spatialguide.registry.default_registry", lambda: registry)
    assert "# needy: {weight: 1.0, levels: [coarse, mid], inner: {size: 1.0}}" in commented(make_config())
    schema = config_schema()
    term = schema["properties"]["losses"]["properties"]["needy"]
    assert term["required"] == ["needed"]
    reference = term["properties"]["inner"]["$ref"]
    assert schema["$defs"][reference.removeprefix("#/$defs/")]["properties"]["size"]["type"] == "number"


def test_presets_are_what_they_are_called() -> None:
    balanced, strong, fast = (make_config(name) for name in ("balanced", "strong", "fast"))
    assert strong.guidance.strength > balanced.guidance.strength
    assert strong.losses == balanced.losses
    assert fast.guidance.window[1] < balanced.guidance.window[1]
    assert set(fast.losses) < set(balanced.losses)


def test_a_plus_adds_a_term_to_the_presets(tmp_path: Path) -> None:
    usual, paper = make_config(), make_config("paper")
    config = make_config(losses={"+overlap": {"weight": 0.5}})
    assert list(config.losses) == [*usual.losses, "overlap"]
    assert {name: config.losses[name] for name in usual.losses} == usual.losses
    assert config.losses["overlap"].weight == 0.5
    assert list(make_config("paper", losses={"+overlap": {}}).losses) == [*paper.losses, "overlap"]
    changed = make_config(losses={"+alignment": {"margin": 0.3}}).losses["alignment"].options
    assert changed == {**usual.losses["alignment"].options, "margin": 0.3}
    path = tmp_path / "guide.yaml"
    path.write_text("losses: {+overlap: {}}", encoding="utf-8")
    assert list(load_config(path).losses) == [*usual.losses, "overlap"]
    assert list(patched(usual, {"losses.overlap": {}}).losses) == [*usual.losses, "overlap"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 5\nsteps: 6", "the key 'steps' is there twice"),
        ("steps: true", "'steps': Input should be a valid integer, not True"),
        ("guidance_scale: true", "'guidance_scale'"),
        ("guidance_scale: .nan", "'guidance_scale': Input should be a finite number"),
        ("steps: 1001", "'steps': Input should be less than or equal to 1000"),
        ("width: 80000000000", "'width': Input should be less than or equal to 4096"),
        ("height: 80000", "'height'"),
        ("guidance: {map_size: 100000}", "'guidance.map_size'"),
        ("guidance: {best_of: 1000000000}", "'guidance.best_of'"),
        ("guidance: {strength: 1e300}", "'guidance.strength'"),
        ("losses: {alignment: {weight: -1e300}}", "'losses.alignment.weight'"),
        ("losses: {alignment: {margin: 1e300}}", "numbers of options must lie between -1,000,000 and 1,000,000"),
        ("scheduler_options: {num_train_timesteps: 1000000000000}", "numbers of options must lie between"),
        ("scheduler_options: {num_train_timesteps: -5}", "must be at least the number of steps, 1"),
        ("{steps: 800, scheduler_options: {num_train_timesteps: 500}}", "must be at least the number of steps, 800"),
        ("backend_options: {a: [{b: .nan}]}", "numbers of options must lie between"),
        ("losses: {1: {}}", "'losses.1"),
        ("steps: " + "9" * 5000, "is not valid YAML"),
        (f"backend: {'x' * 5000}\nsteps: no", "'steps'"),
        (f"? {'x' * 5000}\n: 1", "unknown key 'xxx"),
        ("scheduler: 3", "'scheduler'"),
    ],
)
def test_numbers_have_bounds_and_files_limits(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "guide.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert message in str(error.value)
    assert len(str(error.value)) < 1000


def test_the_schema_states_the_bounds() -> None:
    schema = config_schema()
    terms = {key: term for kind in SETS for key, term in schema["properties"].pop(kind)["properties"].items()}
    sections = [schema["properties"], *(schema["$defs"][name]["properties"] for name in ("GuidanceConfig", "TermConfig"))]
    sections += [term["properties"] for term in terms.values()]
    numbers = 0
    for section in sections:
        for name, field in section.items():
            kinds = {each.get("type"): each for each in (field, *field.get("anyOf", ()))}
            number = kinds.get("integer") or kinds.get("number")
            if number is not None:
                numbers += 1
                assert "maximum" in {**field, **number}, name
    assert numbers > 15
    for name in ("backend_options", "detector_options", "scheduler_options"):
        assert schema["properties"][name]["additionalProperties"]["maximum"] == 1_000_000


def test_a_scheduler_that_cannot_be_built_is_named() -> None:
    with pytest.raises(ConfigError, match="DDIMScheduler cannot be built"):
        checked(make_config(scheduler="DDIM", scheduler_options={"beta_start": "x"}))


def test_what_stands_in_a_file_is_checked_though_a_keyword_wins(tmp_path: Path) -> None:
    (tmp_path / "guide.yaml").write_text("guidance: 3")
    with pytest.raises(ConfigError, match="'guidance'"):
        load_config(tmp_path / "guide.yaml", guidance={"strength": 1.0})


def test_keys_of_options_have_a_depth() -> None:
    with pytest.raises(ConfigError, match="nested deeper than 32 levels"):
        patched(make_config(), {".".join(["backend_options", *"a" * 20_000]): 1})


def test_a_file_with_an_unknown_loss_is_refused_when_the_guide_is_made(tmp_path: Path) -> None:
    path = tmp_path / "guide.yaml"
    path.write_text("losses: {presense: {}}")
    with pytest.raises(UnknownPluginError, match="Did you mean 'presence'"):
        SpatialGuide.from_config(path)
