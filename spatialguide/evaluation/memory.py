"""Peak memory of a block of code, above what was in use before it."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from types import TracebackType

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """Measures the block that it wraps.

        with PeakMemory(pipeline.device) as memory:
            pipeline(prompt)
        memory.used

    On a GPU: what torch had allocated there. On Linux without one: resident memory of the whole process. Elsewhere it is not
    measured.

    Attributes:
        used: bytes at the peak above the start, None where they cannot be measured.
    """

    used: int | None = None

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before: int | None = torch.cuda.memory_allocated(self._cuda)
        else:
            self._before = _restarted()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is None:
            return
        peak = torch.cuda.max_memory_allocated(self._cuda) if self._cuda is not None else _resident("VmHWM")
        self.used = peak - self._before


def _restarted() -> int | None:
    """Start the process's peak anew; its resident memory, or None where the system does not offer that."""
    try:
        # Freed memory that the allocator keeps would hide the next peak.
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
        return _resident("VmRSS")
    except (OSError, AttributeError):
        return None


def _resident(entry: str) -> int:
    """Bytes of an entry of the process's status."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{entry}:"))
    return 1024 * int(line.split()[1])
