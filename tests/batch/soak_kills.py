"""Kill a run at random moments, resume it each time, and compare it with one that was left alone. Takes minutes.

python tests/batch/soak_kills.py --kills 10
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

COMMAND = [sys.executable, "-m", "spatialguide", "bench", "run", "visor", "--prompts", "16", "--images", "4", "--batch", "2"]


def table(folder: Path) -> dict[str, Any]:
    """The report's figures without seconds and memory, which no two runs share."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for method in report["methods"].values():
        del method["seconds"], method["memory"]
    return report


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "images").iterdir())}


def rows(folder: Path) -> list[str]:
    """Every row's key, in the order of the file."""
    return [json.loads(line)["key"] for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def count(folder: Path) -> int:
    path = folder / "rows.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main(kills: int = 10, seed: int = 0) -> None:
    """Exit 0 if nothing differs."""
    rng, shown = random.Random(seed), Table("start", "after s", "rows then", "", title="kill -9", title_justify="left")
    with tempfile.TemporaryDirectory() as place:
        alone, killed = Path(place) / "alone", Path(place) / "killed"
        began = time.monotonic()
        subprocess.run([*COMMAND, "--out", str(alone)], check=True, stdout=subprocess.DEVNULL)
        whole = time.monotonic() - began
        for number in range(kills):
            process = subprocess.Popen([*COMMAND, "--out", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # Up to where a run of its own would end, but mostly early, so that there is something left for the last kill.
            wait = rng.uniform(0.5, 0.33 * whole)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            ended = process.wait() == 0
            shown.add_row(str(number + 1), f"{wait:.1f}", str(count(killed)), "ended by itself" if ended else "killed")
        subprocess.run([*COMMAND, "--out", str(killed)], check=True, stdout=subprocess.DEVNULL)
        left = [path.name for path in killed.rglob(".*.draft")]
        same = {
            "rows once each": sorted(rows(killed)) == sorted(rows(alone)) and len(set(rows(killed))) == len(rows(killed)),
            "pictures, byte by byte": pictures(killed) == pictures(alone),
            "table": table(killed) == table(alone),
            "nothing left over": not left,
        }
    console = Console()
    console.print(shown)
    console.print(same)
    raise typer.Exit(0 if all(same.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
