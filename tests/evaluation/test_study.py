"""Studies: methods that differ in their guidance and in nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from spatialguide.config import make_config
from spatialguide.errors import ConfigError
from spatialguide.evaluation.study import (
    BASELINE,
    GUIDED,
    Study,
    benchmark_methods,
)

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


def test_every_value_is_a_method() -> None:
    methods = benchmark_methods(CONFIG, vary={"guidance.strength": [0.5, 4]})
    assert list(methods) == [BASELINE, GUIDED, "guidance.strength=0.5", "guidance.strength=4"]
    assert [m.config.guidance.strength for m in methods.values()] == [2, 2, 0.5, 4]
    assert methods["guidance.strength=4"].varied == {"guidance.strength": 4}
    assert methods["guidance.strength=4"].config.losses == CONFIG.losses


def test_several_keys_give_every_combination() -> None:
    vary = {"guidance.window": [[0, 0.2], [0, 0.6]], "losses.*.levels": [["coarse"], ["mid"]]}
    methods = list(benchmark_methods(CONFIG, vary=vary).items())[2:]
    assert [(m.config.guidance.window[1], m.varied["losses.*.levels"]) for _, m in methods] == [
        (0.2, ["coarse"]),
        (0.2, ["mid"]),
        (0.6, ["coarse"]),
        (0.6, ["mid"]),
    ]
    name, method = methods[0]
    assert name == 'guidance.window=[0, 0.2], losses.*.levels=["coarse"]'
    assert all(term.options["levels"] == ["coarse"] for term in method.config.losses.values())
    assert method.config.losses["placement"].weight == 3


def test_terms_are_left_out() -> None:
    methods = benchmark_methods(CONFIG, vary={"losses": ["-each"]})
    assert list(methods)[2:] == [f"losses=-{name}" for name in CONFIG.losses]
    left = methods["losses=-presence"].config.losses
    assert list(left) == ["alignment", "balance", "placement"]
    assert left["alignment"] == CONFIG.losses["alignment"]
    whole = benchmark_methods(CONFIG, vary={"losses": [{"boxdiff": {}}, "-balance"]})
    assert [list(m.config.losses) for m in whole.values()][2:] == [["boxdiff"], ["alignment", "presence", "placement"]]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"losses": ["-balence"]}, "no term to leave out as '-balence'"),
        ({"backend": ["sd15"]}, "'backend' cannot vary within a run"),
        ({"guidance.strenght": [1]}, "Did you mean 'strength'"),
        ({"guidance.strength": [-1]}, "'guidance.strength'"),
    ],
)
def test_what_cannot_vary_is_named(vary: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        benchmark_methods(CONFIG, vary=vary)


def test_the_same_image_has_the_same_key_and_no_other_has_it() -> None:
    first = study(benchmark_methods(CONFIG))
    keys = [key for method in (BASELINE, GUIDED) for number in (0, 1) for key in first.keys(number, method)]
    assert len(set(keys)) == 8
    # What is configured anyway is drawn once.
    varied = study(benchmark_methods(CONFIG, vary={"guidance.strength": [1, 2]}))
    assert varied.keys(0, "guidance.strength=2") == varied.keys(0, GUIDED) == first.keys(0, GUIDED)
    assert varied.keys(0, "guidance.strength=1") != varied.keys(0, GUIDED)
    assert study(benchmark_methods(make_config(steps=6))).keys(0, BASELINE) != first.keys(0, BASELINE)


def test_a_study_comes_back_from_its_manifest() -> None:
    first = study(benchmark_methods(CONFIG, {"paper": make_config("paper")}), options={"names": ["cat", "dog"]})
    again = Study.model_validate(first.model_dump(mode="json"))
    assert again.model_dump(mode="json") == first.model_dump(mode="json")
    assert again.keys(1, "paper") == first.keys(1, "paper")
