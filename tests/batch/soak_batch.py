"""Kills a batch run at random moments and checks that it ends as an undisturbed one does.

python tests/batch/soak_batch.py [--requests 2000] [--kills 20] [--engine local|ray] [--steps 2]

With the local engine the driver is killed (SIGKILL). With Ray every second kill is the driver's, with all of its processes, and
the others a worker's, while the run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq

NAMES = ["cat", "dog", "bus", "bird", "clock", "pizza", "book", "boat"]
SIDES = ["to the left of", "to the right of", "above", "below"]


def request_file(folder: Path, count: int) -> Path:
    rng = random.Random(7)
    path = folder / "requests.jsonl"
    lines = []
    for number in range(count):
        first, second = rng.sample(NAMES, 2)
        lines.append(json.dumps({"prompt": f"a {first} {rng.choice(SIDES)} a {second}", "seed": number}))
    path.write_text("\n".join(lines))
    return path


def command(source: Path, out: Path, options: argparse.Namespace) -> list[str]:
    shared = ["--set", f"steps={options.steps}", "--batch", "16", "--unit", "32", "--threads", str(options.threads), "--quiet"]
    engine = ["--engine", "ray", "--workers", str(options.workers)] if options.engine == "ray" else []
    return [sys.executable, "-m", "spatialguide", "batch", str(source), "--out", str(out), *shared, *engine]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """The driver and everything that it started, as when a machine goes down."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def kill_worker(process: subprocess.Popen[bytes], rng: random.Random) -> bool:
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "RayPainter" in " ".join(p.cmdline())]
    if not workers:
        return False
    rng.choice(workers).send_signal(signal.SIGKILL)
    return True


def committed(out: Path) -> int:
    return len(list((out / "metadata").glob("*.parquet")))


def images(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "images").rglob("*.png")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(3)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = request_file(folder, options.requests)
        calm, rough = folder / "calm", folder / "rough"
        began = time.time()
        subprocess.run(command(source, calm, argparse.Namespace(**{**vars(options), "engine": "local"})), check=True)
        print(f"undisturbed, local: {time.time() - began:.0f} s", flush=True)
        units = committed(calm)
        done: Counter[str] = Counter()
        process = start(command(source, rough, options))
        for number in range(options.kills):
            # Somewhere in the part of the run that this kill is to fall into, at a random moment of a unit.
            goal = units * (number + 1) // (options.kills + 2)
            while committed(rough) < goal and process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.random())
            if process.poll() is not None:
                break
            if options.engine == "ray" and number % 2 and kill_worker(process, rng):
                done["worker"] += 1
                continue
            kill_all(process)
            done["driver"] += 1
            process = start(command(source, rough, options))
        process.wait()
        if process.returncode:
            subprocess.run(command(source, rough, options), check=True)
        assert sum(done.values()) == options.kills, f"the run was over after {dict(done)} kills: take more requests"
        rows = pq.read_table(rough / "metadata").to_pylist()
        assert sorted(row["index"] for row in rows) == list(range(options.requests)), "lost or doubled"
        assert all(row["status"] == "done" for row in rows), Counter(row["error"] for row in rows)
        first, second = images(calm), images(rough)
        assert first.keys() == second.keys(), "other images"
        different = sum(first[name] != second[name] for name in first)
        drafts = [path for path in rough.rglob(".*") if path.name not in (".lock",)]
        print(
            f"{options.engine}: {dict(done)} kills, {len(rows)} rows, {len(second)} images, {different} different", flush=True
        )
        print(f"drafts left behind: {len(drafts)}")
        assert different == 0


if __name__ == "__main__":
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    main()
