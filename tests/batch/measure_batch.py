"""Draws many small pictures as `spatialguide batch` does, and prints memory and what a request costs beside the pipeline.

python tests/batch/measure_batch.py [--requests 20000] [--steps 1] [--size 16] [--batch 16] [--threads 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from soak_batch import request_file

from spatialguide.batch.local import run_local
from spatialguide.batch.painter import Painter
from spatialguide.batch.requests import read_units
from spatialguide.batch.store import Store
from spatialguide.config import make_config


def timed(pipeline: Any) -> dict[str, float]:
    """Seconds inside the pipeline from now on: text encoder, denoiser, guidance, decoder."""
    spent = {"pipeline": 0.0}
    kind = type(pipeline)
    plain = kind.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(self, *args, **kwargs)
        finally:
            spent["pipeline"] += time.perf_counter() - began

    kind.__call__ = call
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=("images", "shards"), default="images")
    options = parser.parse_args()
    config = make_config(steps=options.steps, width=options.size, height=options.size)
    with tempfile.TemporaryDirectory() as place:
        source = request_file(Path(place), options.requests)
        painter = Painter(config, options.batch, threads=options.threads)
        painter.load()
        spent = timed(painter.guide.pipeline)
        store = Store(str(Path(place) / "out"), options.layout)
        process, began, done, told = psutil.Process(), time.perf_counter(), 0, 0
        for report in run_local(read_units(str(source), 64), painter, store):
            done += report.done
            assert not report.failed, report.errors
            if done - told >= options.requests // 20 or done == options.requests:
                told, wall = done, time.perf_counter() - began
                overhead = 1000 * (wall - spent["pipeline"]) / done
                resident = process.memory_info().rss / 2**20
                print(
                    f"{done} requests  {resident:.1f} MiB  {done / wall:.1f}/s  {overhead:.2f} ms beside the pipeline",
                    flush=True,
                )


if __name__ == "__main__":
    main()
