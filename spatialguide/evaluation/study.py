"""Studies: which methods draw which prompts. A study is a run's manifest; its methods share prompts, seeds and sampler."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from spatialguide.config import GuidanceConfig, GuideConfig, TermConfig, explain
from spatialguide.errors import ConfigError, EvaluationError
from spatialguide.evaluation.runs import read_manifest
from spatialguide.registry import Registry

BASELINE = "unguided"
GUIDED = "guided"
Kind = Literal["benchmark", "sweep", "ablation"]
STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
#: Windows that an ablation tries: ever longer ones from the noisiest step on, and one without the first fifth.
WINDOWS = ((0.0, 0.1), (0.0, 0.2), (0.0, 0.3), (0.0, 0.4), (0.0, 0.6), (0.0, 1.0), (0.2, 0.6))
GRIDS = ("terms", "levels", "activations", "windows", "strengths", "losses", "schedulers")
#: The paper's strength (InfSplign, arXiv 2512.17851).
ETA = 1000.0
#: Samplers that people use, with their usual steps on a model of this kind, and options.
SCHEDULERS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "DDPM": ("DDPMScheduler", 50, {}),
    "DDIM": ("DDIMScheduler", 20, {}),
    "PNDM": ("PNDMScheduler", 20, {"skip_prk_steps": True}),
    "LMS": ("LMSDiscreteScheduler", 20, {}),
    "Euler": ("EulerDiscreteScheduler", 20, {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", 20, {}),
    "Heun": ("HeunDiscreteScheduler", 10, {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", 20, {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", 20, {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", 20, {"algorithm_type": "sde-dpmsolver++"}),
    "UniPC": ("UniPCMultistepScheduler", 20, {}),
    "LCM": ("LCMScheduler", 8, {}),
    "DEIS": ("DEISMultistepScheduler", 20, {}),
}
#: 2^5 subsets are as many as one table holds.
_MOST_TERMS = 5


class Method(BaseModel):
    """One way to draw. group: the part of an ablation that it belongs to; setting: what it sets there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: GuideConfig
    guided: bool = True
    group: str = ""
    setting: str = ""


class Study(BaseModel):
    """What a run is: a benchmark's prompts, and the methods that draw them, the plain model first.

    Image i of prompt p starts from seed + p * images + i, whatever the method.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "benchmark"
    spatialguide: str = Field(default_factory=lambda: version("spatialguide"))
    benchmark: str
    options: dict[str, Any] = Field(default_factory=dict)
    prompts: tuple[str, ...]
    images: int
    batch: int
    seed: int
    methods: dict[str, Method]
    #: Hash of what the prompts are scored by, so that a file that changed is another run.
    rule: str = ""
    #: The methods as a manifest has them, which an older version of this program wrote.
    _written: dict[str, Any] | None = PrivateAttr(None)

    @property
    def backend(self) -> str:
        """Name of the backend that draws."""
        return self.methods[BASELINE].config.backend

    def first_seed(self, number: int) -> int:
        """Seed of the first image of a prompt."""
        return self.seed + number * self.images

    def keys(self, number: int, method: str) -> list[str]:
        """Names of one prompt's images: hashes of prompt, seed and configuration, so that the same image has the same name."""
        described = self._written[method] if self._written else self.methods[method].model_dump(mode="json")
        how = {key: described[key] for key in ("config", "guided")}
        first = self.first_seed(number)
        contents = ([self.spatialguide, self.prompts[number], first + i, how] for i in range(self.images))
        return [hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20] for content in contents]


def read_study(folder: Path) -> Study:
    """What the run in a folder is.

    Raises:
        EvaluationError: there is no run in it, or it is one of another version's.
    """
    manifest = read_manifest(folder)
    try:
        study = Study.model_validate(manifest)
        study._written = manifest["methods"]
        return study
    except ValidationError as error:
        raise EvaluationError(
            f"'{folder}' holds a run that this version cannot read: {explain(error, Study)}; use a new folder"
        ) from error


def benchmark_methods(config: GuideConfig, others: Mapping[str, GuideConfig] | None = None) -> dict[str, Method]:
    """The plain model, the configured guidance, and other guidance with the same sampler.

    Args:
        others: name to configuration; its `guidance` and `losses` are used, all else is `config`'s, so that the methods
            differ in nothing but their guidance.

    Raises:
        ConfigError: a name is taken.
    """
    methods = _base(config)
    for name, other in (others or {}).items():
        if name in methods:
            raise ConfigError(f"there is a method '{name}' already: give it another name")
        losses = {"losses": other.losses} if "losses" in other.model_fields_set else {}
        methods[name] = Method(config=config.model_copy(update={"guidance": other.guidance, **losses}))
    return methods


def sweep_methods(config: GuideConfig, strengths: Iterable[float] = STRENGTHS) -> dict[str, Method]:
    """The plain model, which is strength 0, and the configured guidance at each strength, in rising order."""
    wanted = sorted(set(strengths) - {0.0})
    if not wanted:
        raise ConfigError("a sweep needs at least one strength above 0")
    methods = {BASELINE: _base(config)[BASELINE]}
    for strength in wanted:
        methods[f"strength {strength:g}"] = Method(
            config=_with_guidance(config, strength=strength), group="strength", setting=f"{strength:g}"
        )
    return methods


def ablation_methods(config: GuideConfig, registry: Registry, grids: Sequence[str] = GRIDS) -> dict[str, Method]:
    """The plain model, the configured guidance, and it with one part changed at a time.

    Args:
        grids: of "terms" (every subset of the configured loss terms), "levels" (each attention level alone, and all),
            "activations" (all that a term offers), "windows" (parts of the sampling steps), "strengths" (relative to what
            guidance adds, constant and fading, against the paper's constant eta), "losses" (every registered loss alone) and
            "schedulers" (the one part of the sampler that this changes: their gain is against the plain model under the
            configured scheduler).

    Raises:
        ConfigError: an unknown grid, or more terms than a table holds.
    """
    makers = {
        "terms": _terms,
        "levels": _levels,
        "activations": _activations,
        "windows": _windows,
        "strengths": _strengths,
        "losses": _losses,
        "schedulers": _schedulers,
    }
    unknown = [grid for grid in grids if grid not in makers]
    if not grids:
        raise ConfigError(f"name at least one grid. Known: {', '.join(GRIDS)}")
    if unknown:
        raise ConfigError(f"no grid is called '{unknown[0]}'. Known: {', '.join(GRIDS)}")
    methods = _base(config)
    for grid in dict.fromkeys(grids):
        for setting, changed in makers[grid](config, registry).items():
            methods[f"{grid}: {setting}"] = Method(config=changed, group=grid, setting=setting)
    return methods


def _base(config: GuideConfig) -> dict[str, Method]:
    return {BASELINE: Method(config=config, guided=False), GUIDED: Method(config=config)}


def _with_guidance(config: GuideConfig, **changes: Any) -> GuideConfig:
    try:
        guidance = GuidanceConfig.model_validate({**config.guidance.model_dump(), **changes})
    except ValidationError as error:
        raise ConfigError(f"guidance: {explain(error, GuidanceConfig)}") from error
    return config.model_copy(update={"guidance": guidance})


def _terms(config: GuideConfig, registry: Registry) -> dict[str, GuideConfig]:
    names = list(config.losses)
    if len(names) > _MOST_TERMS:
        raise ConfigError(
            f"{len(names)} loss terms have {2 ** len(names)} subsets: configure at most {_MOST_TERMS} to ablate them"
        )
    subsets = chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1))
    return {
        " + ".join(subset): config.model_copy(update={"losses": {name: config.losses[name] for name in subset}})
        for subset in subsets
    }


def _levels(config: GuideConfig, registry: Registry) -> dict[str, GuideConfig]:
    from spatialguide.losses import make_terms

    known = {term.name: term.term.levels for term in make_terms(config.losses, registry)}
    levels = tuple(dict.fromkeys(level for names in known.values() for level in names))
    choices = {**{level: (level,) for level in levels}, " + ".join(levels): levels}
    return {setting: _with_option(config, "levels", dict.fromkeys(known, chosen)) for setting, chosen in choices.items()}


def _activations(config: GuideConfig, registry: Registry) -> dict[str, GuideConfig]:
    """Every value of every term's option `activation`."""
    found: dict[str, GuideConfig] = {}
    for name in config.losses:
        field = registry.get("losses", name).model_fields.get("activation")
        for choice in get_args(field.annotation) if field is not None else ():
            found[str(choice)] = _with_option(found.get(str(choice), config), "activation", {name: choice})
    return found


def _windows(config: GuideConfig, registry: Registry) -> dict[str, GuideConfig]:
    return {f"{start:.0%} to {stop:.0%}": _with_guidance(config, window=(start, stop)) for start, stop in WINDOWS}


def _strengths(config: GuideConfig, registry: Registry) -> dict[str, GuideConfig]:
    usual = GuidanceConfig() if config.guidance.mode == "paper" else config.guidance
    relative: dict[str, Any] = {"mode": "relative", "strength": usual.strength, "clip": None}
    constant: dict[str, Any] = {"settle": False, "patience": None, "rescale": False}
    eta: dict[str, Any] = {**constant, "mode": "paper", "strength": ETA, "clip": None}
    always: dict[str, Any] = {"window": (0.0, 1.0)}
    settings: dict[str, dict[str, Any]] = {
        "relative, constant": {**relative, **constant},
        "relative, rescaled": {**relative, **constant, "rescale": True},
        "relative, fading": {**relative, **constant, "settle": True},
        "relative, fading, rescaled": {**relative, **constant, "settle": True, "rescale": True},
        "relative, fading, rescaled, stopped": {**relative, "settle": True, "rescale": True, "patience": 2},
        f"eta {ETA:g}": eta,
        f"eta {ETA:g}, clipped": {**eta, "clip": usual.strength or None},
        f"eta {ETA:g}, every step": {**eta, **always},
        f"eta {ETA:g}, every step, clipped": {**eta, **always, "clip": usual.strength or None},
    }
    return {setting: _with_guidance(config, **changes) for setting, changes in settings.items()}


def _losses(config: GuideConfig, registry: Registry) -> dict[str, GuideConfig]:
    # Fading looks at relations, which half of the terms do not speak of.
    constant = _with_guidance(config, settle=False, patience=None)
    return {name: constant.model_copy(update={"losses": {name: TermConfig()}}) for name in sorted(registry.names("losses"))}


def _schedulers(config: GuideConfig, registry: Registry) -> dict[str, GuideConfig]:
    return {
        setting: config.model_copy(update={"scheduler": name, "steps": steps, "scheduler_options": options})
        for setting, (name, steps, options) in SCHEDULERS.items()
    }


def _with_option(config: GuideConfig, option: str, values: Mapping[str, Any]) -> GuideConfig:
    losses = {
        name: term.model_copy(update={option: values[name]}) if name in values else term for name, term in config.losses.items()
    }
    return config.model_copy(update={"losses": losses})
