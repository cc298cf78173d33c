"""The Ray engine: Ray Data's pool of actors, each with a model of its own; on this machine or on a cluster."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from spatialguide.batch.ledger import Book, Ledger, RemoteLedger, too_many
from spatialguide.batch.metrics import log
from spatialguide.batch.painter import Painter, said
from spatialguide.batch.requests import Unit
from spatialguide.batch.store import Layout, Store, UnitReport
from spatialguide.batch.worker import Worker
from spatialguide.config import GuideConfig
from spatialguide.errors import BatchError
from spatialguide.versions import versions

#: Seconds without a finished unit after which Ray gives up.
_PATIENCE = 24 * 3600.0

if TYPE_CHECKING:
    from spatialguide.batch.runs import Batch


class RayPainter:
    """An actor: draws units and commits them itself, so that no image passes through the driver.

    Args:
        config: of the run, as JSON.
        installed: versions by distribution with which the run was started.

    Raises:
        BatchError: workers have died too often in a row, or this machine has other versions.
    """

    def __init__(
        self,
        config: str,
        batch: int,
        url: str,
        layout: Layout,
        threads: int | None,
        ledger: Book,
        workers: int,
        installed: Mapping[str, str],
    ) -> None:
        here = versions(installed)
        other = {name: found for name, found in installed.items() if here.get(name) != found}
        if other:
            known = ", ".join(f"{name} {here.get(name, 'none')} in place of {found}" for name, found in other.items())
            raise BatchError(f"a worker's machine has {known}: install the same versions on all")
        if too_many(ledger.started(), workers):
            raise BatchError("workers die again and again while they load the model: is there memory for --workers of them?")
        painter = Painter(GuideConfig.model_validate_json(config), batch, threads=threads)
        painter.load()
        self._worker = Worker(painter, Store(url, layout), ledger)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        """Units as JSON in, their reports out."""
        reports = [self._report(Unit.from_json(str(text))) for text in rows["unit"]]
        return {name: [report[name] for report in reports] for name in reports[0]}

    def _report(self, unit: Unit) -> dict[str, Any]:
        """A unit's report as a row. "fault" is what ends the run: an error that is raised here would come out as Ray's."""
        fault, worker = "", self._worker
        try:
            whole = worker.begin(unit)
            outcomes = worker.painter.paint(worker.painter.prepare(unit)) if whole else worker.one_by_one(unit)
            report = worker.commit(unit, outcomes)
        except Exception as error:
            report, fault = UnitReport(unit.number, 0, 0, 0.0, 0.0, 0), said(error)
        return {**vars(report), "errors": list(report.errors), "fault": fault}


def run_ray(units: Iterable[Unit], run: Batch, store: Store) -> Iterator[UnitReport]:
    """Draw and commit units in any order. Ray starts lost workers again, with the units that they had.

    Raises:
        BatchError: Ray is not installed or cannot be reached, or workers die while they load the model.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext, exceptions
    except ImportError as error:
        raise BatchError('engine "ray" needs Ray: python -m pip install "spatialguide[ray]"') from error
    # Newer ones raise it where nothing has happened for `_PATIENCE`.
    stuck: type[Exception] = getattr(exceptions, "ExecutionTimeoutError", ray.exceptions.RayError)
    waiting = [{"unit": unit.to_json()} for unit in units]
    if not waiting:
        return
    ours = not ray.is_initialized()
    if ours:
        cores = None if run.address else math.ceil(run.workers * run.cpus)
        try:
            # "local" starts one here, whatever cluster the environment names.
            ray.init(address=run.address or "local", num_cpus=cores, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise BatchError(f"cannot start or reach Ray: {error}; check --address") from error
    try:
        there = ray.cluster_resources()
        # A worker that is given no GPU sees all of them, and takes the first.
        gpus = min(1.0, there.get("GPU", 0.0)) if run.gpus is None else run.gpus
        _check_resources(run, gpus, there)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        # Newer ones give up after half an hour without a finished unit, which a large model on a CPU may take.
        context.execution_no_progress_timeout_s = _PATIENCE
        ledger = RemoteLedger(ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote())
        data = ray.data.from_items(waiting, override_num_blocks=len(waiting))
        reports = data.map_batches(
            RayPainter,
            fn_constructor_args=(
                run.config.model_dump_json(exclude_unset=True),
                run.batch,
                store.address,
                store.layout,
                run.threads,
                ledger,
                run.workers,
                run.installed,
            ),
            batch_size=1,
            compute=ActorPoolStrategy(size=run.workers),
            num_gpus=gpus,
            num_cpus=run.cpus,
            max_task_retries=-1,  # what kills workers is found by the ledger
        )
        for row in reports.iter_rows():
            fault = row.pop("fault")
            if fault:
                raise BatchError(f"{fault}; what is done is kept, and the same command goes on")
            report = UnitReport(**{**row, "errors": tuple(row["errors"])})
            if not store.has(report.number):
                raise BatchError(
                    f"the workers write where this machine does not see it: give an --out that all share, not '{run.out}'"
                )
            yield report
    except (ray.exceptions.RayError, stuck) as error:
        lines = str(getattr(error, "cause", None) or error).strip().splitlines()
        # Of our own errors Ray writes the type before the message.
        cause = re.sub(r"^spatialguide\.errors\.\w+: ", "", lines[-1]) if lines else type(error).__name__
        raise BatchError(f"Ray gave up: {cause}; what is done is kept, and the same command goes on") from error
    finally:
        if ours:
            ray.shutdown()


def _check_resources(run: Batch, gpus: float, there: dict[str, float]) -> None:
    """Raise BatchError for what Ray would wait for without end; a cluster may be one that grows."""
    for name, needed in (("CPU", run.workers * run.cpus), ("GPU", run.workers * gpus)):
        has = there.get(name, 0.0)
        if needed > has and run.address:
            event = "the workers need more than the cluster has: waiting for it to grow"
            log(event, logging.WARNING, workers=run.workers, resource=name, needed=needed, there=has)
        elif needed > has:
            raise BatchError(f"{run.workers} workers need {needed:g} {name}s, and Ray has {has:g}: take fewer")
