"""Resumable checkpoints: one file, written atomically, holding modules, optimizer and step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, **state: Any) -> None:
    """Write state (tensors, dicts, numbers) so that a kill at any moment leaves the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, or None when there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
