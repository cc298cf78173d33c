"""Write the trained parts as the folder that ships: a diffusers pipeline in half precision, and the detector.

python -m training.export --vae runs/vae/vae --unet runs/unet --tokenizer runs/tokenizer --detector runs/detector
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from training import checkpoint
from training.denoiser import SCHEDULER_CONFIG, UNET_CONFIG, Denoiser, make_text_encoder
from training.things import COLOURS, HELD_OUT_COLOURS, HELD_OUT_COUNTS, HELD_OUT_PAIRS, MOST, NEAR, THINGS

SHARD_LIMIT = 16 * 2**20


def load_pipeline(vae: Path, unet: Path, tokenizer: Path) -> StableDiffusionPipeline:
    """The pipeline with the averaged weights of the checkpoint."""
    words = CLIPTokenizer.from_pretrained(tokenizer)
    model = Denoiser(make_text_encoder(words), UNet2DConditionModel(**UNET_CONFIG))
    state = checkpoint.load(unet / "checkpoint.pt")
    if state is None:
        raise typer.BadParameter(f"no checkpoint in {unet}")
    model.load_state_dict(state["average"])
    return StableDiffusionPipeline(
        vae=AutoencoderTiny.from_pretrained(vae),
        text_encoder=model.text_encoder,
        tokenizer=words,
        unet=model.unet,
        scheduler=DDIMScheduler(**SCHEDULER_CONFIG, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def objects() -> dict[str, object]:
    """What scenes show, for the backend, the detector and the benchmarks.

    names: with their plurals. recoloured: what comes in all colours. most: how many of a kind. near: common words for other
    things, and what is drawn that is nearest. held_out: pairs, colours and counts that no scene shows.
    """
    return {
        "names": {thing.name: thing.plural for thing in THINGS},
        "recoloured": [thing.name for thing in THINGS if thing.recoloured],
        "colours": list(COLOURS),
        "most": MOST,
        "near": NEAR,
        "held_out": sorted(sorted(pair) for pair in HELD_OUT_PAIRS),
        "held_out_colours": sorted(HELD_OUT_COLOURS),
        "held_out_counts": sorted(HELD_OUT_COUNTS),
    }


def export(
    vae: Annotated[Path, typer.Option(help="folder of the autoencoder")],
    unet: Annotated[Path, typer.Option(help="run folder of the denoiser")],
    tokenizer: Annotated[Path, typer.Option(help="folder of the tokenizer")],
    detector: Annotated[Path | None, typer.Option(help="run folder of the detector")] = None,
    out: Annotated[Path, typer.Option(help="folder that ships")] = Path("plugins/spatialguide_plugins/tiny/weights"),
) -> None:
    """Export; refuses files that are too large to ship."""
    pipeline = load_pipeline(vae, unet, tokenizer).to(torch.float16)
    folder = out / "pipeline"
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size="15MB")
    # AutoencoderTiny derives this key itself and warns about a stored one.
    config = folder / "vae" / "config.json"
    settings = json.loads(config.read_text())
    settings.pop("block_out_channels", None)
    settings.pop("_name_or_path", None)  # where it lay on the machine that trained it
    config.write_text(json.dumps(settings, indent=2) + "\n")
    # Half precision is for the disk: without this, transformers would load the text encoder in it, and a CPU refuse.
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(tokenizer / name, folder / "tokenizer" / name)
    (out / "objects.json").write_text(json.dumps(objects(), indent=0) + "\n")
    if detector is not None:
        state = checkpoint.load(detector / "checkpoint.pt")
        if state is None:
            raise typer.BadParameter(f"no checkpoint in {detector}")
        save_file({k: v.half().contiguous() for k, v in state["model"].items()}, out / "detector.safetensors")
    for path in sorted(out.rglob("*.safetensors")):
        path.chmod(0o644)  # safetensors makes private files
        size = path.stat().st_size
        print(f"{path} {size / 2**20:.2f} MiB")
        if size > SHARD_LIMIT:
            raise SystemExit(f"{path} is too large to ship")


if __name__ == "__main__":
    typer.run(export)
