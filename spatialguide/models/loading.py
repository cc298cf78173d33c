"""Loading diffusers pipelines as backends: what a plugin has to add is which class, which weights and which usual settings."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from spatialguide.config import explain
from spatialguide.contracts import Backend, Generation
from spatialguide.errors import ConfigError, SpatialGuideError


class Lora(BaseModel):
    """A LoRA to load: hub id, folder or file, and how much of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    weight_name: str | None = None
    weight: float = 1.0


class PipelineOptions(BaseModel):
    """Where a pipeline comes from and how it runs: `backend_options` in the configuration.

    model: hub id, folder, or a single .safetensors file.
    config: for a single file, folder or hub id with the configurations of its parts; found on the hub if not given.
    dtype: "auto" is what the model was made for on a GPU (float16, or bfloat16 for the large transformers) and float32
        elsewhere.
    device: by default the first GPU, else Apple's, else the CPU.
    offload: "model" keeps only the part on the device that runs, "sequential" only the layer (least memory, slowest).
    quantization: how weights are stored, the arguments of diffusers' PipelineQuantizationConfig, such as {quant_backend:
        bitsandbytes_4bit, quant_kwargs: {load_in_4bit: true}}.
    attention_slicing, xformers, fused_projections: how attention is computed; xformers must be installed.
    safety_checker: whether to run the checker that comes with SD 1.x; it blacks images out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str
    config: str | None = None
    variant: str | None = None
    revision: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    device: str | None = None
    offload: Literal["none", "model", "sequential"] = "none"
    quantization: dict[str, Any] | None = None
    attention_slicing: bool = False
    xformers: bool = False
    fused_projections: bool = False
    vae_slicing: bool = False
    vae_tiling: bool = False
    channels_last: bool = False
    safety_checker: bool = True
    loras: tuple[Lora, ...] = ()
    fuse_loras: bool = False
    textual_inversions: tuple[str, ...] = ()
    local_files_only: bool = False


@dataclass(frozen=True)
class Family:
    """A kind of model.

    pipeline: diffusers class. model: default hub id, None where the user must name one. dtype: the usual one on a GPU.
    """

    pipeline: str
    model: str | None
    generation: Generation
    dtype: str = "float16"


class PipelineBackend(Backend):
    """A diffusers pipeline. Register it as `functools.partial(PipelineBackend, Family(...))`.

    Args:
        family: what is loaded by default, and how it is usually run.
        options: fields of `PipelineOptions`.

    Raises:
        ConfigError: an option that there is not, or no model.
    """

    def __init__(self, family: Family, **options: Any) -> None:
        self._family = family
        given = {"model": family.model, **options} if family.model else options
        try:
            self.options = PipelineOptions.model_validate(given)
        except ValidationError as error:
            raise ConfigError(f"backend_options: {explain(error, PipelineOptions)}") from error

    @property
    def generation(self) -> Generation:  # type: ignore[override]
        """The model's usual settings."""
        return self._family.generation

    @property
    def pipeline_class(self) -> str:
        """Name of the diffusers class."""
        return self._family.pipeline

    def load(self) -> Any:
        """The pipeline, on its device.

        Raises:
            ConfigError: the model is not there, or the libraries or this machine cannot do what an option asks for.
        """
        try:
            return self._load()
        except SpatialGuideError:
            raise
        except Exception as error:
            fault = f"{type(error).__name__}: {str(error).rstrip('.')}"
            raise ConfigError(
                f"backend_options: model '{self.options.model}' cannot be loaded with them: {fault}; "
                "give a folder or a hub id that can be reached, and options that this machine can do"
            ) from error

    def _load(self) -> Any:
        import torch

        from spatialguide.guidance.denoiser import denoiser_of

        options = self.options
        device = options.device or _default_device()
        dtype = self._family.dtype if options.dtype == "auto" and device.startswith("cuda") else options.dtype
        with warnings.catch_warnings():
            # Newer versions of diffusers call it dtype; the older ones that we support do not know that name.
            warnings.filterwarnings("ignore", message="`torch_dtype` is deprecated", category=FutureWarning)
            pipeline = self._read(getattr(torch, "float32" if dtype == "auto" else dtype))
        if not options.safety_checker and getattr(pipeline, "safety_checker", None) is not None:
            pipeline.safety_checker = None
            pipeline.register_to_config(requires_safety_checker=False)
        self._adapt(pipeline)
        denoiser: Any = denoiser_of(pipeline)
        if options.channels_last:
            denoiser.to(memory_format=torch.channels_last)
        if options.attention_slicing:
            pipeline.enable_attention_slicing()
        if options.xformers:
            pipeline.enable_xformers_memory_efficient_attention()
        if options.fused_projections:
            denoiser.fuse_qkv_projections()
        if options.vae_slicing:
            pipeline.vae.enable_slicing()
        if options.vae_tiling:
            pipeline.vae.enable_tiling()
        if options.offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        elif options.offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
        else:
            pipeline.to(device)
        return pipeline

    def _read(self, dtype: Any) -> Any:
        import diffusers

        options = self.options
        kind = getattr(diffusers, self.pipeline_class)
        common: dict[str, Any] = {
            "torch_dtype": dtype,
            "revision": options.revision,
            "local_files_only": options.local_files_only,
        }
        if options.quantization is not None:
            from diffusers.quantizers import PipelineQuantizationConfig

            common["quantization_config"] = PipelineQuantizationConfig(**options.quantization)
        if Path(options.model).suffix == ".safetensors":
            return self._single(kind).from_single_file(options.model, config=options.config, **common)
        return kind.from_pretrained(options.model, variant=options.variant, use_safetensors=True, **common)

    def _single(self, kind: Any) -> Any:
        """The class that reads a single file: the family's own, or the one that the folder of configurations names."""
        import diffusers

        config = self.options.config
        # Without a folder, the file of that name in the working directory would count.
        if config and not hasattr(kind, "from_single_file") and (index := Path(config) / "model_index.json").is_file():
            kind = getattr(diffusers, json.loads(index.read_text(encoding="utf-8"))["_class_name"], kind)
        if not hasattr(kind, "from_single_file"):
            raise ConfigError(
                f"backend_options: 'model' is a single file, which {kind.__name__} cannot read: choose the backend of its "
                "model (sd15, sd21, sdxl, ...), give 'config', a folder with its model_index.json, or give a folder or hub id"
            )
        return kind

    def _adapt(self, pipeline: Any) -> None:
        options, local = self.options, {"local_files_only": self.options.local_files_only}
        for number, lora in enumerate(options.loras):
            pipeline.load_lora_weights(lora.model, weight_name=lora.weight_name, adapter_name=f"lora_{number}", **local)
        if options.loras:
            names = [f"lora_{number}" for number in range(len(options.loras))]
            pipeline.set_adapters(names, [lora.weight for lora in options.loras])
            if options.fuse_loras:
                pipeline.fuse_lora()
        for embedding in options.textual_inversions:
            pipeline.load_textual_inversion(embedding, **local)


def _default_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
