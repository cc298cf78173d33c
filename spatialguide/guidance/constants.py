"""Numbers of a scene as tensors, made once: a copy to a device in every step would keep it waiting."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Values: TypeAlias = tuple[Any, ...]


def values_of(array: Any) -> Values:
    """An array as nested tuples, which `constant` takes."""
    return tuple(map(_tuples, np.asarray(array).tolist()))


def constant(values: Values, like: Tensor) -> Tensor:
    """The numbers as a tensor on another's device and of its type. Not to be written to.

    Args:
        values: nested tuples of equal length.
    """
    return _constant(values, like.dtype, like.device)


def index(values: tuple[int, ...], like: Tensor) -> Tensor:
    """Whole numbers to index with, on another tensor's device."""
    return _constant(values, torch.long, like.device)


@lru_cache(maxsize=512)
def _constant(values: Values, dtype: torch.dtype, device: torch.device) -> Tensor:
    # A tensor that is made in inference mode can never be part of a graph.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype).to(device)


def _tuples(listed: Any) -> Any:
    return tuple(map(_tuples, listed)) if isinstance(listed, list) else listed
