"""Studies: which methods draw which prompts. A study is a run's manifest; its methods share prompts, seeds and sampler."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from spatialguide.config import SETS, GuideConfig, explain, patched
from spatialguide.errors import ConfigError, EvaluationError
from spatialguide.evaluation.runs import read_manifest

BASELINE = "unguided"
GUIDED = "guided"
#: What may differ between the methods of a run; its model, detector and size of images are one.
VARIED = ("guidance", *SETS, "steps", "guidance_scale", "scheduler", "scheduler_options")


class Method(BaseModel):
    """One way to draw. varied: what it sets beside the configured guidance, by dotted key."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # manifests of older versions hold more

    config: GuideConfig
    guided: bool = True
    varied: dict[str, Any] = Field(default_factory=dict)


class Study(BaseModel):
    """What a run is: a benchmark's prompts, and the methods that draw them, the plain model first.

    Image i of prompt p starts from seed + p * images + i, whatever the method; of twins, p counts the twos.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

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
    #: Prompts come in twos of the same seeds, see `contracts.Benchmark`.
    twins: bool = False
    #: The methods as a manifest has them, which an older version of this program wrote.
    _written: dict[str, Any] | None = PrivateAttr(None)

    @property
    def backend(self) -> str:
        """Name of the backend that draws."""
        return self.methods[BASELINE].config.backend

    def first_seed(self, number: int) -> int:
        """Seed of the first image of a prompt."""
        return self.seed + (number // 2 if self.twins else number) * self.images

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


def benchmark_methods(
    config: GuideConfig,
    others: Mapping[str, GuideConfig] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Method]:
    """The plain model, the configured guidance, other guidance with the same sampler, and variations of the configured one.

    Args:
        others: name to configuration; its `guidance`, `losses` and `steerings` are used, all else is `config`'s, so that the
            methods differ in nothing but their guidance.
        vary: dotted key to values; every combination is a method. "losses.*.KEY" is KEY of every term; of "losses" the value
            "-NAME" leaves that term out, and "-each" is each of them in turn.

    Raises:
        ConfigError: a name is taken, or a key or value is not one that a method can have.
    """
    methods = {BASELINE: Method(config=config, guided=False), GUIDED: Method(config=config)}
    for name, other in (others or {}).items():
        if name in methods:
            raise ConfigError(f"there is a method '{name}' already: give it another name")
        stated = {key: getattr(other, key) for key in SETS if key in other.model_fields_set}
        methods[name] = Method(config=config.model_copy(update={"guidance": other.guidance, **stated}))
    for changes in _combinations(config, vary or {}):
        changed = config
        for key, value in changes.items():
            changed = _changed(changed, key, value)
        written = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changes.items())
        methods[", ".join(written)] = Method(config=changed, varied=changes)
    return methods


def _combinations(config: GuideConfig, vary: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    choices = {
        key: [f"-{name}" for name in config.losses] if key == "losses" and list(values) == ["-each"] else values
        for key, values in vary.items()
    }
    if choices:
        yield from (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


def _changed(config: GuideConfig, key: str, value: Any) -> GuideConfig:
    if key.split(".")[0] not in VARIED:
        raise ConfigError(f"'{key}' cannot vary within a run. What can: {', '.join(VARIED)}")
    if key == "losses" and isinstance(value, str):
        rest = {name: term.model_dump() for name, term in config.losses.items() if f"-{name}" != value}
        if len(rest) == len(config.losses):
            raise ConfigError(f"there is no term to leave out as '{value}': -each, -{', -'.join(config.losses)}")
        return patched(config, {"losses": rest})
    _, every, option = key.partition("losses.*.")
    return patched(config, {f"losses.{name}.{option}": value for name in config.losses} if every else {key: value})
