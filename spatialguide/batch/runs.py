"""A run as a whole: what is left to do, who does it, and what came of it."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from spatialguide.batch.metrics import Metrics, log
from spatialguide.batch.painter import DONE, FAILED
from spatialguide.batch.requests import Unit, read_units
from spatialguide.batch.store import Layout, Store, UnitReport
from spatialguide.config import GuideConfig
from spatialguide.errors import BatchError
from spatialguide.guide import SpatialGuide
from spatialguide.versions import versions

#: Errors that the report holds; all are in the metadata.
_SHOWN = 5
Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class Batch:
    """What to draw and how.

    Attributes:
        source: requests, see `spatialguide.batch.requests.read_units`.
        out: path or URL of the store.
        batch: images drawn at once. unit: requests that are committed together.
        images: for each prompt. seed: of requests that name none.
        layout: "images" or "shards" (WebDataset).
        engine: "local", or "ray" with so many workers, at an address or on this machine, each with so many GPUs (one if there
            are any) and cores.
        threads: of torch in each model's process. If not given, what the run was started with; of a new one torch's own choice,
            or with Ray each worker's cores. Runs with the same number give the same bits, whatever the engine and the workers.
        retry_failed: draw the units again in which a request failed.
        verify: compare committed images byte by byte; else they must only be there in their size.

    Raises:
        BatchError: a count is below one.
    """

    source: str
    out: str
    config: GuideConfig
    batch: int = 8
    unit: int = 64
    images: int = 1
    seed: int = 0
    layout: Layout = "images"
    engine: Engine = "local"
    workers: int = 1
    address: str | None = None
    gpus: float | None = None
    cpus: float = 1.0
    threads: int | None = None
    retry_failed: bool = False
    verify: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "unit", "images", "workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BatchError(f"{name} must be at least 1, not {value}")

    @property
    def installed(self) -> dict[str, str]:
        """Versions of the libraries, and of the plugins that the run may ask."""
        guide = SpatialGuide(self.config)
        return versions(guide.distributions(guide.registry.relations()))

    @property
    def manifest(self) -> dict[str, Any]:
        """What must be the same for a run to go on; workers and engine may change."""
        return {
            "versions": self.installed,
            "config": self.config.model_dump(mode="json"),
            **{name: getattr(self, name) for name in ("batch", "unit", "images", "seed", "layout", "threads")},
        }

    def resolved(self, started: Mapping[str, Any] | None) -> Batch:
        """With a number of threads: as the run was started, torch's own choice, or the cores of each of Ray's workers.

        Args:
            started: the manifest that is there, if there is one.
        """
        if self.threads is not None:
            return self
        if started is not None and started.get("threads") is not None:
            return replace(self, threads=started["threads"])
        if self.engine == "ray":
            return replace(self, threads=max(1, math.ceil(self.cpus)))
        import torch

        return replace(self, threads=torch.get_num_threads())


def run_batch(batch: Batch, metrics: Metrics | None = None, say: Callable[[int], object] | None = None) -> dict[str, Any]:
    """Draw every request that is not drawn yet.

    Args:
        say: called with the number of requests that are over, after every unit.

    Returns:
        The report: counts of done and failed requests, of skipped ones (committed before) and of those that had failed among
        these, of images that were there before and are damaged, whose units were drawn again, the first errors, seconds,
        images per second.

    Raises:
        SpatialGuideError: the input cannot be read, or the store cannot be written or holds another run.
    """
    store = Store(batch.out, batch.layout)
    batch = batch.resolved(store.manifest())
    metrics = metrics or Metrics()
    errors: list[str] = []
    began = time.perf_counter()
    counts: Counter[str] = Counter()
    with store.opened(batch.manifest) as committed:
        log("start", source=batch.source, out=batch.out, engine=batch.engine, committed_units=len(committed))
        for report in _reports(batch, store, _left(batch, store, committed, counts)):
            counts[DONE] += report.done
            counts[FAILED] += report.failed
            over = counts[DONE] + counts[FAILED]
            rate = over / (time.perf_counter() - began)
            log("unit", number=report.number, done=report.done, failed=report.failed, images_per_second=round(rate, 3))
            errors += report.errors[: _SHOWN - len(errors)]
            for error in report.errors:
                log("failed", logging.WARNING, unit=report.number, error=error)
            metrics.unit(report, rate, counts["read"] - over)
            if say is not None:
                say(over + counts["skipped"])
        seconds = time.perf_counter() - began
        summary: dict[str, Any] = {
            "out": batch.out,
            "engine": batch.engine,
            DONE: counts[DONE],
            FAILED: counts[FAILED],
            "skipped": counts["skipped"],
            "failed_before": counts["failed_before"],
            "damaged": counts["damaged"],
            "errors": errors,
            "seconds": round(seconds, 3),
            "images_per_second": round(counts[DONE] / seconds, 3),
        }
        store.write_report({**summary, "manifest": batch.manifest})
        log("end", **summary)
    return summary


def _left(batch: Batch, store: Store, committed: set[int], counts: Counter[str]) -> Iterator[Unit]:
    """Units to draw, as they are read: not committed, damaged, or with `retry_failed` those in which a request failed."""
    beyond = set(committed)
    for unit in read_units(batch.source, batch.unit, batch.images, batch.seed, batch.config.guidance.best_of):
        beyond.discard(unit.number)
        there = store.committed(unit, batch.verify) if unit.number in committed else None
        if there is not None and there.damaged:
            counts["damaged"] += len(there.damaged)
            log("damaged", logging.WARNING, unit=unit.number, files=list(there.damaged))
        if there is None or there.damaged or (batch.retry_failed and there.failed):
            counts["read"] += len(unit.requests)
            yield unit
        else:
            counts["failed_before"] += there.failed
            counts["skipped"] += len(unit.requests)
    if beyond:
        raise BatchError(f"'{batch.out}' holds results of more requests than '{batch.source}' has now: use another folder")


def _reports(batch: Batch, store: Store, units: Iterator[Unit]) -> Iterator[UnitReport]:
    if batch.engine == "ray":
        from spatialguide.batch.ray_engine import run_ray

        return run_ray(units, batch, store)
    from spatialguide.batch.local import run_local
    from spatialguide.batch.painter import Painter

    return run_local(units, Painter(batch.config, batch.batch, threads=batch.threads), store)
