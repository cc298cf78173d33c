"""Draws docs/images/relations.png: the signed distance of each kind of relation, for every place of the subject.

python docs/relations.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from spatialguide.registry import default_registry

#: Predicates, each with where its grounds stand.
GROUND = ((0.5, 0.5),)
SHOWN = {
    "left_of": GROUND,
    "above": GROUND,
    "next_to": GROUND,
    "inside": GROUND,
    "between": ((0.2, 0.35), (0.8, 0.65)),
    "in_front_of": GROUND,
    "behind": GROUND,
    "in_region:left": (),
    "in_region:center": (),
    "in_region:top_right": (),
}
CELLS, LIMIT = 201, 0.5


def main() -> None:
    """One panel per predicate: blue where it holds, red where it does not, a line where the distance is zero."""
    relations = default_registry().relations()
    axis = np.linspace(0, 1, CELLS)
    places = np.stack(np.meshgrid(axis, axis), axis=-1)
    figure, panels = plt.subplots(2, 5, figsize=(12, 5.4), layout="constrained")
    for panel, (name, grounds) in zip(panels.flat, SHOWN.items(), strict=True):
        spots = [np.broadcast_to(ground, places.shape) for ground in grounds]
        distance = relations[name].distance(places, *spots)
        shown = panel.imshow(distance, extent=(0, 1, 1, 0), cmap="RdBu", vmin=-LIMIT, vmax=LIMIT)
        panel.contour(axis, axis, distance, levels=[0], colors="black", linewidths=1)
        for x, y in grounds:
            panel.plot(x, y, "ko")
        panel.set(title=name, xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    figure.colorbar(shown, ax=panels, label="signed distance, image sides", shrink=0.8)
    figure.savefig(Path(__file__).parent / "images" / "relations.png", dpi=100)


if __name__ == "__main__":
    main()
