"""A loss of your own, tried out without packaging.

python examples/custom_loss.py
"""

from spatialguide import LossTerm, SpatialGuide, hookimpl
from spatialguide.registry import Registry


class Separation(LossTerm):
    """Push the first two objects' centroids apart until they are `distance` image sides away from each other."""

    distance: float = 0.4

    def __call__(self, statistics, scene, relations):
        centroid = statistics.centroid  # (images, layers, objects, 2)
        gap = (centroid[:, :, 0] - centroid[:, :, 1]).norm(dim=-1)
        return (self.distance - gap).relu().mean(dim=1)


class Plugin:
    @hookimpl
    def spatialguide_losses(self, register):
        register("separation", Separation)


registry = Registry()
registry.add(Plugin())
guide = SpatialGuide(registry=registry, steps=20, losses={"alignment": {}, "separation": {"weight": 0.5, "distance": 0.5}})
result = guide("a cat to the left of a dog", seed=1)
result.images[0].resize((384, 384)).save("separation.png")
print("separation.png", result.trace.steps[-1].images[0].terms)
