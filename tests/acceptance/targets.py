"""What the bundled model and the command line must reach: VISOR, bit identity, seconds, memory.

python tests/acceptance/targets.py [--prompts 100] [--images 4] [--batch 4] [--sheet sheet.png]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from rich.table import Table

from spatialguide.commands.console import err, out
from spatialguide.commands.options import say_warnings, silence_libraries
from spatialguide.config import GuideConfig, make_config
from spatialguide.evaluation.benchmark import Task, run_benchmark
from spatialguide.evaluation.study import BASELINE, GUIDED, benchmark_methods
from spatialguide.evaluation.tables import terminal
from spatialguide.evaluation.visor import VisorScores
from spatialguide.guide import SpatialGuide

PROMPT = "a cat to the left of a dog"


@dataclass(frozen=True)
class Target:
    """One requirement: what is measured, what it must be, what it is."""

    name: str
    wanted: str
    measured: str
    reached: bool


def visor_targets(plain: VisorScores, guided: VisorScores) -> list[Target]:
    """The model draws its objects, places them at chance, and guidance places them right without losing them."""
    return [
        Target("unguided OA", ">= 70%", f"{plain.oa:.1f}%", plain.oa >= 70),
        Target("unguided VISOR_cond", "45% to 65%", f"{plain.cond:.1f}%", 45 <= plain.cond <= 65),
        Target("guided VISOR_cond", ">= 90%", f"{guided.cond:.1f}%", guided.cond >= 90),
        Target("guided OA", ">= unguided OA - 3", f"{guided.oa:.1f}%", guided.oa >= plain.oa - 3),
    ]


def identity_targets(config: GuideConfig) -> list[Target]:
    """Images with strength 0, and after an attach block, against the plain pipeline's, byte by byte."""
    guide = SpatialGuide(config)
    zero = SpatialGuide(config.model_copy(update={"guidance": config.guidance.model_copy(update={"strength": 0.0})}))
    plain = np.asarray(guide(PROMPT, guided=False).images[0])
    same = bool(np.array_equal(plain, np.asarray(zero(PROMPT).images[0])))
    guide(PROMPT)  # attaches to the pipeline, and lets it go
    after = bool(np.array_equal(plain, np.asarray(guide(PROMPT, guided=False).images[0])))
    words = {True: "identical", False: "different"}
    return [
        Target("strength 0 against the plain pipeline", "bit-identical", words[same], same),
        Target("plain pipeline after attach", "bit-identical", words[after], after),
    ]


def command_targets() -> list[Target]:
    """`spatialguide generate --compare` in a process of its own: seconds from start to end, and peak resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "spatialguide", "generate", PROMPT, "--compare", "--quiet"]
        began = time.perf_counter()
        subprocess.run([*command, "-o", str(Path(folder) / "out.png")], check=True)
        seconds = time.perf_counter() - began
    # Linux reports kibibytes, macOS bytes.
    gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return [
        Target("generate --compare, end to end", "<= 20 s", f"{seconds:.1f} s", seconds <= 20),
        Target("peak memory of generate", "<= 1.5 GB", f"{gigabytes:.2f} GB", gigabytes <= 1.5),
    ]


def targets_table(targets: list[Target]) -> Table:
    """For the terminal."""
    table = Table("what", "target", "measured", "", title="Targets", title_justify="left")
    for target in targets:
        table.add_row(target.name, target.wanted, target.measured, "yes" if target.reached else "[bold red]no[/]")
    return table


def main(prompts: int = 100, images: int = 4, batch: int = 4, sheet: Path | None = None) -> None:
    """Measure, and print figures and targets; sheet: a PNG of unguided images beside guided ones."""
    say_warnings(quiet=False)
    silence_libraries()
    config = make_config()
    command = command_targets()  # first, while nothing else of ours is in memory
    report = run_benchmark(benchmark_methods(config), Task("visor", None, prompts, images, batch), sheet=sheet, console=err)
    out.print(terminal(report))
    accuracy = visor_targets(report.of(BASELINE).scores, report.of(GUIDED).scores)
    out.print(targets_table([*accuracy, *identity_targets(config), *command]))


if __name__ == "__main__":
    typer.run(main)
