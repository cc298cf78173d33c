"""Which models are here: what the page says beside each backend's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatialguide.errors import SpatialGuideError
from spatialguide.models.loading import PipelineBackend
from spatialguide.registry import Registry


@dataclass(frozen=True)
class Model:
    """A backend. offered: whether visitors may choose it. here: whether its weights are on this machine. state: in words."""

    name: str
    offered: bool
    here: bool
    state: str


def state_of(registry: Registry, name: str, options: Mapping[str, Any], offered: bool) -> Model:
    """What is known of a backend without loading it; nothing is downloaded.

    Args:
        options: its `backend_options`.
        offered: whether the page offers it.
    """
    try:
        backend = registry.make("backends", name, dict(options))
        here, state = _found(backend) if isinstance(backend, PipelineBackend) else (True, "installed")
    except SpatialGuideError as error:
        here, state = False, str(error)
    return Model(name, offered, here, state)


def _found(backend: PipelineBackend) -> tuple[bool, str]:
    import diffusers
    from huggingface_hub import try_to_load_from_cache

    model, pipeline = backend.options.model, backend.pipeline_class
    if pipeline not in dir(diffusers):  # asking for it would import it
        return False, f"needs a newer diffusers, with {pipeline}"
    if Path(model).exists():
        return True, "installed"
    try:
        index = try_to_load_from_cache(model, "model_index.json", revision=backend.options.revision)
    except ValueError:  # neither a path that is there nor a hub id
        return False, "the model that its options name is not there"
    if isinstance(index, str) and any(Path(index).parent.rglob("*.safetensors")):
        return True, "downloaded"
    return False, f"not downloaded yet ({model})"
