"""Small geometry that works on tensors (differentiable) and numpy arrays alike, for `Relation.distance`."""

from __future__ import annotations

from typing import Any

_TINY = 1e-12


def smaller(a: Any, b: Any) -> Any:
    """Element-wise minimum."""
    return (a + b - abs(a - b)) / 2


def larger(a: Any, b: Any) -> Any:
    """Element-wise maximum."""
    return (a + b + abs(a - b)) / 2


def length(vector: Any) -> Any:
    """Euclidean length over the last axis; its gradient is finite at zero."""
    return ((vector * vector).sum(-1) + _TINY) ** 0.5
