"""The bundled presets; `balanced` holds the configuration's defaults.

`strong` moves objects that the default leaves where they are, farther from the unguided picture. `fast` guides with InfSplign's
terms alone and stops as soon as the relations hold. `paper` is InfSplign's own set-up (arXiv 2512.17851): eta 1000 on every
step, maps resized to 64x64, terms averaged over all layers, DDPM with trailing spacing, 50 steps; the guidance scale is the
backend's usual one, which is InfSplign's: 7.5 for SD, 5.0 for SDXL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spatialguide.hookspecs import hookimpl

BALANCED = {
    "backend": "tiny",
    "parser": "spacy",
    "detector": "tiny",
    "losses": {"alignment": {}, "presence": {}, "balance": {}, "placement": {"weight": 3.0}},
    "steerings": {"boxes": {}},
}
STRONG = {"guidance": {"strength": 3.0, "window": (0.0, 0.6), "settle": False}}
FAST = {
    "guidance": {"patience": 1, "window": (0.0, 0.2)},
    "losses": {"alignment": {}, "presence": {}, "balance": {}},
}
PAPER = {
    "steps": 50,
    "scheduler": "DDPMScheduler",
    "scheduler_options": {"timestep_spacing": "trailing"},
    "guidance": {
        "mode": "paper",
        "strength": 1000.0,
        "window": (0.0, 1.0),
        "map_size": 64,
        "average": "layers",
        "rescale": False,
        "settle": False,
        "patience": None,
        "layers_per_level": None,
    },
    "losses": {
        "alignment": {"weight": 1.0, "alpha": 0.75, "margin": 0.25, "activation": "gelu", "levels": ("coarse", "mid")},
        "presence": {"weight": 1.0, "levels": ("coarse",)},
        "balance": {"weight": 1.0, "levels": ("mid",)},
    },
}


@hookimpl
def spatialguide_presets(register: Callable[[str, dict[str, Any]], None]) -> None:
    register("balanced", BALANCED)
    register("strong", STRONG)
    register("fast", FAST)
    register("paper", PAPER)
