"""What a picture of spatialguide's says that it was drawn with, and whether that is safe to do again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from spatialguide.config import GuideConfig, explain
from spatialguide.errors import OutputError, UntrustedError
from spatialguide.pictures.png import read_metadata
from spatialguide.scenes.scene import Scene

#: Options of backends whose text names nothing to load. Numbers and truth values never do.
_HARMLESS = ("backdrop", "device", "dtype", "offload")


class Recipe(BaseModel):
    """What a picture carries, as far as drawing it again needs it."""

    model_config = ConfigDict(frozen=True)

    spatialguide: str
    versions: dict[str, str] = {}
    prompt: str
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)]
    guided: StrictBool
    scene: Scene
    config: GuideConfig

    @model_validator(mode="after")
    def _one_prompt(self) -> Recipe:
        if self.prompt != self.scene.prompt:
            raise ValueError(f"the scene belongs to another prompt: '{self.scene.prompt}', not '{self.prompt}'")
        return self

    def wants(self) -> str:
        """One line in plain words of what is loaded and computed."""
        config = self.config
        options = [f"{key}={value}" for key, value in config.backend_options.items()]
        sizes = (config.steps, "steps"), (config.width, "wide"), (config.height, "high"), (config.scheduler, "")
        numbers = [f"{value} {unit}".rstrip() for value, unit in sizes if value is not None]
        return ", ".join([f"backend {config.backend}", *options, *numbers, f"seed {self.seed}", f"'{self.prompt:.200}'"])

    def check_trust(self) -> None:
        """Check that nothing is loaded but what an installed plugin itself names.

        Raises:
            UntrustedError: the backend's options name a model, a file or the like.
        """
        for key, value in self.config.backend_options.items():
            if not (value is None or isinstance(value, (bool, int, float)) or (key in _HARMLESS and isinstance(value, str))):
                raise UntrustedError(
                    f"the picture wants backend '{self.config.backend}' with {key}={value}, which can load anything: "
                    "if you trust whoever made it, give --trust"
                )


def read_recipe(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """A picture's recipe, and the configuration as the picture has it.

    Raises:
        OutputError: the picture carries none, or none that this version can read.
    """
    found = read_metadata(path)
    try:
        recipe = Recipe.model_validate(found)
    except ValidationError as error:
        made = f"{found.get('spatialguide', 'another version')!s:.40}"
        raise OutputError(
            f"'{path}' was made by spatialguide {made}, and this version cannot replay it: {explain(error, Recipe)}; "
            "if it was not changed since, install that one"
        ) from error
    return recipe, found["config"]
