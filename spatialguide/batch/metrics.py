"""What a run says of itself while it runs: structured logs, and Prometheus metrics."""

from __future__ import annotations

import json
import logging
from typing import Any

from spatialguide.batch.store import UnitReport
from spatialguide.errors import BatchError

logger = logging.getLogger("spatialguide.batch")
logger.addHandler(logging.NullHandler())


class JsonFormatter(logging.Formatter):
    """A line of JSON for each event: time, level, event, and what belongs to it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = getattr(record, "fields", {})
        return json.dumps({"time": record.created, "level": record.levelname.lower(), "event": record.getMessage(), **fields})


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """An event of the run."""
    logger.log(level, event, extra={"fields": fields})


class Metrics:
    """Prometheus counters of a run, served over HTTP.

    Args:
        port: to listen on, on this machine's loopback address; None serves nothing.

    Raises:
        BatchError: prometheus-client is missing, or the port is taken.
    """

    def __init__(self, port: int | None = None) -> None:
        self._served = port is not None
        if port is None:
            return
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
        except ImportError as error:
            raise BatchError('metrics need prometheus-client: python -m pip install "spatialguide[scale]"') from error
        registry = CollectorRegistry()
        self._images = Counter("spatialguide_images", "Requests that are done, by status.", ["status"], registry=registry)
        self._skips = Counter("spatialguide_guidance_skips", "Guided steps left uncorrected.", registry=registry)
        self._step = Histogram("spatialguide_step_seconds", "One sampling step of one image.", registry=registry)
        self._rate = Gauge("spatialguide_images_per_second", "Since the start.", registry=registry)
        self._queue = Gauge("spatialguide_queue", "Requests read and not done.", registry=registry)
        try:
            self.server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
        except OSError as error:
            raise BatchError(f"cannot serve metrics on port {port}: {error.strerror or error}; take another") from error

    def unit(self, report: UnitReport, rate: float, queue: int) -> None:
        """Count a unit. rate: images/s so far; queue: requests that were read and are not done."""
        if not self._served:
            return
        self._images.labels("done").inc(report.done)
        self._images.labels("failed").inc(report.failed)
        self._skips.inc(report.skipped)
        if report.done:
            self._step.observe(report.step_seconds)
        self._rate.set(rate)
        self._queue.set(queue)
