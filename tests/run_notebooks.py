"""Runs the example notebooks as a reader would, cell by cell; fails on the first error.

python tests/run_notebooks.py [FOLDER]   # with FOLDER, the notebooks with their output are written there
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent / "examples" / "notebooks"

for path in sorted(ROOT.glob("*.ipynb")):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = sum("image/png" in output.get("data", {}) or "image/svg+xml" in output.get("data", {}) for output in outputs)
    print(f"{path.name}: {len(notebook.cells)} cells, {pictures} pictures")
    if len(sys.argv) > 1:
        nbformat.write(notebook, Path(sys.argv[1]) / path.name)
