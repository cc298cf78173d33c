"""Studies: methods that differ in their guidance and in nothing else."""

from __future__ import annotations

import pytest

from spatialguide.config import make_config
from spatialguide.errors import ConfigError
from spatialguide.evaluation.study import (
    BASELINE,
    GUIDED,
    Study,
    ablation_methods,
    benchmark_methods,
    sweep_methods,
)
from spatialguide.registry import Registry

CONFIG = make_config(steps=5)


def study(methods, **changes) -> Study:
    return Study(
        **{"benchmark": "visor", "prompts": ("x", "y"), "images": 2, "batch": 1, "seed": 3, "methods": methods, **changes}
    )


def test_other_methods_keep_the_sampler() -> None:
    methods = benchmark_methods(CONFIG, {"paper": make_config("paper"), "weak": make_config(guidance={"strength": 0.1})})
    assert list(methods) == [BASELINE, GUIDED, "paper", "weak"]
    assert not methods[BASELINE].guided
    paper = methods["paper"].config
    assert (paper.guidance.mode, paper.guidance.strength) == ("paper", 1000)
    assert paper.losses["presence"].options["levels"] == ("coarse",)
    assert (paper.steps, paper.scheduler) == (5, None)
    assert methods["weak"].config.losses == CONFIG.losses
    with pytest.raises(ConfigError, match="there is a method 'guided' already"):
        benchmark_methods(CONFIG, {GUIDED: CONFIG})


def test_a_sweep_rises_from_the_plain_model() -> None:
    methods = sweep_methods(CONFIG, [2, 0.5, 0, 2])
    assert list(methods) == [BASELINE, "strength 0.5", "strength 2"]
    assert [m.config.guidance.strength for m in methods.values()][1:] == [0.5, 2]
    with pytest.raises(ConfigError, match="at least one strength above 0"):
        sweep_methods(CONFIG, [0])


def test_an_ablation_holds_every_subset_level_activation_and_window(registry: Registry) -> None:
    methods = ablation_methods(CONFIG, registry)
    groups: dict[str, list[str]] = {}
    for method in methods.values():
        groups.setdefault(method.group, []).append(method.setting)
    assert len(groups["terms"]) == 15
    assert {"alignment", "alignment + balance", "alignment + presence + balance"} < set(groups["terms"])
    assert groups["levels"] == ["coarse", "mid", "coarse + mid"]
    assert {"gelu", "relu", "sigmoid", "squared_relu"} < set(groups["activations"])
    assert "0% to 30%" in groups["windows"]
    assert {"DDIM", "Heun", "LCM"} < set(groups["schedulers"])
    assert set(groups["losses"]) == set(registry.names("losses"))
    assert list(methods["losses: boxdiff"].config.losses) == ["boxdiff"]
    strengths = [methods[f"strengths: {name}"].config.guidance for name in groups["strengths"]]
    assert len(set(strengths)) == len(strengths) == 9
    usual = make_config().guidance.strength
    paper = ablation_methods(make_config("paper"), registry, ["strengths"])
    assert paper["strengths: relative, constant"].config.guidance.strength == usual
    etas = [methods[f"strengths: {name}"].config.guidance for name in ("eta 1000", "eta 1000, clipped", "relative, constant")]
    assert [(g.mode, g.strength, g.clip, g.settle, g.rescale) for g in etas] == [
        ("paper", 1000, None, False, False),
        ("paper", 1000, usual, False, False),
        ("relative", usual, None, False, False),
    ]
    coarse = methods["levels: coarse"].config.losses
    assert {tuple(term.options["levels"]) for term in coarse.values()} == {("coarse",)}
    assert methods["activations: relu"].config.losses["alignment"].options == {"closure": True, "activation": "relu"}
    assert methods["windows: 0% to 20%"].config.guidance.window == (0, 0.2)
    assert list(methods["terms: balance"].config.losses) == ["balance"]


def test_a_grid_that_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="no grid is called 'colours'"):
        ablation_methods(CONFIG, registry, ["terms", "colours"])
    many = CONFIG.model_copy(update={"losses": {f"t{n}": CONFIG.losses["alignment"] for n in range(6)}})
    with pytest.raises(ConfigError, match="6 loss terms have 64 subsets"):
        ablation_methods(many, registry, ["terms"])


def test_the_same_image_has_the_same_key_and_no_other_has_it(registry: Registry) -> None:
    first = study(benchmark_methods(CONFIG))
    keys = [key for method in (BASELINE, GUIDED) for number in (0, 1) for key in first.keys(number, method)]
    assert len(set(keys)) == 8
    # The full set of terms is what is configured anyway: drawn once.
    terms = study(ablation_methods(CONFIG.model_copy(update={"losses": CONFIG.losses}), registry, ["terms"]))
    assert terms.keys(0, "terms: alignment + presence + balance + placement") == terms.keys(0, GUIDED) == first.keys(0, GUIDED)
    assert terms.keys(0, "terms: alignment") != terms.keys(0, GUIDED)
    assert study(benchmark_methods(make_config(steps=6))).keys(0, BASELINE) != first.keys(0, BASELINE)


def test_a_study_comes_back_from_its_manifest() -> None:
    first = study(benchmark_methods(CONFIG, {"paper": make_config("paper")}), options={"names": ["cat", "dog"]})
    again = Study.model_validate(first.model_dump(mode="json"))
    assert again.model_dump(mode="json") == first.model_dump(mode="json")
    assert again.keys(1, "paper") == first.keys(1, "paper")
