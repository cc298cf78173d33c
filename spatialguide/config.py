"""Configuration: pydantic models, read from YAML or keyword arguments alike."""

from __future__ import annotations

from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from spatialguide.contracts import ordered
from spatialguide.documents import MAX_DEPTH, DocumentError, parse_yaml, read_text
from spatialguide.errors import ConfigError, suggestion
from spatialguide.registry import Registry, default_registry

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
#: The preset that holds the defaults.
DEFAULT_PRESET = "balanced"
#: Largest side in pixels, number of steps, weight and strength, and number in the options of what a configuration names.
MAX_SIDE, MAX_STEPS, MAX_WEIGHT, MAX_OPTION = 4096, 1000, 1e6, 1e6


def _bounded(options: Any, depth: int = 0) -> Any:
    """Options whose numbers are all within bounds."""
    if depth > MAX_DEPTH:
        raise ValueError(f"options must not be nested deeper than {MAX_DEPTH} levels")
    if isinstance(options, (dict, list, tuple)):
        for each in options.values() if isinstance(options, dict) else options:
            _bounded(each, depth + 1)
    elif isinstance(options, (int, float)) and not abs(options) <= MAX_OPTION:
        raise ValueError(f"numbers of options must lie between -{MAX_OPTION:,.0f} and {MAX_OPTION:,.0f}")
    return options


#: The same in JSON schema, which asks it of numbers alone.
WITHIN: dict[str, Any] = {"minimum": -MAX_OPTION, "maximum": MAX_OPTION}
#: Keys that hold a set of plugins, each with its options.
SETS = ("losses", "steerings")
#: Keyword arguments of a plugin or a scheduler.
_Options = Annotated[dict[str, Any], AfterValidator(_bounded), Field(json_schema_extra={"additionalProperties": WITHIN})]


def _default(key: str) -> Any:
    """A field whose default a plugin states."""
    return Field(default_factory=lambda: default_registry().get("presets", DEFAULT_PRESET)[key], validate_default=True)


class TermConfig(BaseModel):
    """One loss term; all keys but `weight` are the term's own options."""

    model_config = ConfigDict({**_STRICT, "extra": "allow", "json_schema_extra": {"additionalProperties": WITHIN}})

    weight: float = Field(default=1.0, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    """Its weight in the sum."""

    @model_validator(mode="after")
    def _bounds(self) -> TermConfig:
        _bounded(self.options)
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What is handed to the term's constructor."""
        return dict(self.__pydantic_extra__ or {})


class GuidanceConfig(BaseModel):
    """How the denoiser is guided."""

    model_config = _STRICT

    method: Literal["gradient", "bias", "both", "auto"] = "gradient"
    """How: "gradient" corrects the prediction along the gradient of the losses; "bias" adds the `steerings` to the scores of
    attention, which needs no gradient and costs next to nothing; "both" does that at all steps of the steerings' windows, and
    corrects at every `every`-th of its own; "auto" is "both" where gradients can run, else "bias"."""

    every: int = Field(default=4, ge=1, le=MAX_STEPS)
    """With method "both", correct at each so many steps of the window, from its first on."""

    mode: Literal["relative", "paper"] = "relative"
    """What `strength` is a multiple of: "relative" of what classifier-free guidance adds, guidance_scale * ||eps_cond -
    eps_uncond||, sqrt(n) times as much for n relations, or less with `settle`; "paper" of the loss gradient, as InfSplign's
    eta."""

    strength: float = Field(default=2.0, ge=0, le=MAX_WEIGHT)
    """How strong a correction is, see `mode`. 0 switches guidance off, whatever the method."""

    rescale: bool = True
    """Keep mean and standard deviation of every channel of the prediction as they are without the correction, so that colours
    stay as they are."""

    window: tuple[float, float] = Field(default=(0.0, 0.4), strict=False)
    """Part of the sampling steps that is corrected, as fractions [start, stop) from the noisiest step on. Steerings have
    windows of their own."""

    map_size: int | None = Field(default=None, ge=4, le=512)
    """Side to which maps are resized (anti-aliased) before the statistics, as the paper does; null keeps each layer's own
    resolution."""

    average: Literal["levels", "layers"] = "levels"
    """Over what terms are means: "levels", each over the layers of its own levels; "layers", all over all observed layers, as
    InfSplign's code has it, where a term that reads half of the layers counts half."""

    settle: bool = True
    """In mode "relative", and of the bias, count each relation only as far as it is from holding with a quarter of an image
    side to spare, so that guidance fades out once the scene is right."""

    patience: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    """Stop guiding an image once its relations have held, with a quarter of an image side to spare, at this many guided steps
    in a row; null never stops."""

    layers_per_level: int | None = Field(default=1, ge=1, le=1000)
    """Number of attention layers observed per level, counted from the first; null observes all. Fewer layers mean a shorter
    backward pass. Layers named by the caller or in `layers` are observed as they are."""

    layers: dict[str, list[str]] | None = None
    """Attention layers to observe, as lists of module names by level, such as {coarse: [...], mid: [...]}; null takes the
    backend's. `spatialguide calibrate` finds them."""

    best_of: int = Field(default=1, ge=1, le=1000)
    """Draw so many candidates for each image, from seeds of their own, and keep the one whose maps show the scene best."""

    checkpointing: bool = False
    """Store less for the backward pass and compute it again: less memory, slower."""

    @field_validator("window")
    @classmethod
    def _ordered(cls, window: tuple[float, float]) -> tuple[float, float]:
        return ordered(window)


class GuideConfig(BaseModel):
    """Everything that shapes an image apart from the prompt and the seed."""

    model_config = _STRICT

    backend: str = _default("backend")
    """Model: see `spatialguide plugins`."""

    backend_options: _Options = Field(default_factory=dict)
    """What the backend is built with."""

    parser: str = _default("parser")
    """Parser: see `spatialguide plugins`."""

    parser_options: _Options = Field(default_factory=dict)
    """What the parser is built with."""

    detector: str = _default("detector")
    """Detector that looks for the objects in pictures: see `spatialguide plugins`."""

    detector_options: _Options = Field(default_factory=dict)
    """What the detector is built with."""

    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    """Sampling steps; null takes the backend's usual number."""

    guidance_scale: float | None = Field(default=None, ge=0, le=1000)
    """Scale of classifier-free guidance; null takes the backend's usual one."""

    width: int | None = Field(default=None, ge=8, le=MAX_SIDE, multiple_of=8)
    """Of the image in pixels; null takes the backend's usual size."""

    height: int | None = Field(default=None, ge=8, le=MAX_SIDE, multiple_of=8)
    """Of the image in pixels; null takes the backend's usual size."""

    scheduler: str | None = None
    """diffusers scheduler class, such as DDIMScheduler; null keeps the pipeline's."""

    scheduler_options: _Options = Field(default_factory=dict)
    """What the scheduler is built with, on top of the pipeline's own settings."""

    strict: bool = False
    """Raise an error, in place of a warning, where there is nothing to guide."""

    guidance: GuidanceConfig = GuidanceConfig()
    """How the denoiser is guided."""

    losses: dict[str, TermConfig] = _default("losses")
    """Loss terms by name, each with its weight and its own options. Naming them states the whole set; names with a plus, such
    as +overlap, add to the preset's, or change its options."""

    steerings: dict[str, TermConfig] = _default("steerings")
    """What attention is steered by with method "bias" and "both", by name; as losses."""

    @model_validator(mode="after")
    def _steps_fit(self) -> GuideConfig:
        trained = self.scheduler_options.get("num_train_timesteps")
        if isinstance(trained, (int, float)) and trained < (self.steps or 1):
            raise ValueError(f"scheduler_options.num_train_timesteps must be at least the number of steps, {self.steps or 1}")
        return self


def presets(registry: Registry | None = None) -> dict[str, dict[str, Any]]:
    """Named starting points, each what it changes, from plugins: the one called `balanced` holds the defaults.

    Args:
        registry: plugins; all installed ones by default.
    """
    found = registry if registry is not None else default_registry()
    # The defaults change nothing, so that they are not taken for a choice.
    return {name: {} if name == DEFAULT_PRESET else found.get("presets", name) for name in found.names("presets")}


def make_config(preset: str = DEFAULT_PRESET, *, registry: Registry | None = None, **overrides: Any) -> GuideConfig:
    """A configuration from a preset and overrides; nested sections merge key by key.

    Args:
        registry: plugins that bring the presets; all installed ones by default.

    Raises:
        ConfigError: unknown preset or key (the message names the nearest valid one), or a value out of range.
    """
    known = presets(registry)
    if preset not in known:
        raise ConfigError(f"no preset is called '{preset}'.{suggestion(preset, known)}")
    return _validated(_merged(known[preset], overrides), "configuration")


def patched(config: GuideConfig, values: dict[str, Any]) -> GuideConfig:
    """The configuration with some values set; all else stays.

    Args:
        values: by dotted key, such as {"guidance.strength": 2.0, "losses.alignment.margin": 0.3}.

    Raises:
        ConfigError: an unknown key, or a value out of range.
    """
    data = config.model_dump(exclude_unset=True)
    for path, value in values.items():
        *outer, last = path.split(".")
        if outer and outer[0] in SETS:
            data[outer[0]] = {**config.model_dump()[outer[0]], **data.get(outer[0], {})}
        place = data
        for key in outer:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ConfigError(f"configuration: '{path}' has no '{last}': '{key}' holds no keys, so set '{key}' itself")
        place[last] = value
    return _validated(data, "configuration")


def load_config(path: str | Path, **overrides: Any) -> GuideConfig:
    """Read YAML; the key `preset` names the starting point.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds a wrong key or value.
    """
    try:
        text = read_text(path)
    except (OSError, DocumentError) as error:
        raise ConfigError(
            f"cannot read configuration '{path}': {getattr(error, 'strerror', None) or error}; "
            "`spatialguide config init` writes one"
        ) from error
    try:
        data = parse_yaml(text) or {}
    except DocumentError as error:
        raise ConfigError(f"'{path}' is not valid YAML: {error}; `spatialguide config init` writes one that is") from error
    if not isinstance(data, dict):
        raise ConfigError(f"'{path}' must hold keys and values, such as 'steps: 30', not {type(data).__name__}")
    preset, known = data.pop("preset", DEFAULT_PRESET), presets()
    if not isinstance(preset, str) or preset not in known:
        raise ConfigError(f"'{path}': no preset is called '{preset}'.{suggestion(str(preset), known)}")
    own = _merged(known[preset], data)
    config = _validated(own, f"'{path}'")  # before something else takes a faulty value's place
    return _validated(_merged(own, overrides), f"'{path}'") if overrides else config


def _merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        plain = value.model_dump() if isinstance(value, BaseModel) else value
        if key in SETS and isinstance(plain, dict) and any(str(name).startswith("+") for name in plain):
            usual = GuideConfig().model_dump(mode="json")[key] if old is None else old
            merged[key] = _merged(usual, {str(name).removeprefix("+"): options for name, options in plain.items()})
            continue
        # Naming them states the whole set: a term left out is switched off.
        merged[key] = _merged(old, plain) if isinstance(old, dict) and isinstance(plain, dict) and key not in SETS else plain
    return merged


def _validated(data: dict[str, Any], where: str) -> GuideConfig:
    try:
        return GuideConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, GuideConfig)}") from error


_BRIEF = Repr()
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = 80


def _shown(key: str) -> str:
    """A key, shortened if nobody can have meant it."""
    return key if len(key) <= 80 else f"{key[:80]}..."


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a validation in one line, with the nearest valid key for an unknown one."""
    fault = error.errors(include_url=False)[0]
    path = ".".join(_shown(str(part)) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        owner: Any = model
        for part in fault["loc"][:-1]:
            owner = owner.model_fields[part].annotation if part in getattr(owner, "model_fields", {}) else None
        known = getattr(owner, "model_fields", {})
        return f"unknown key '{path}'.{suggestion(_shown(str(fault['loc'][-1])), known)}"
    if fault["type"] == "missing":
        return f"'{path}' is missing: give it"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    said = f", not {_BRIEF.repr(given)}" if isinstance(given, (str, int, float)) else ""
    return f"'{path}': {message}{said}" if path else f"{message}{said}"
