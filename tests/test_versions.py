"""Versions that a picture carries."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from spatialguide import GuideConfig, SpatialGuide
from spatialguide.hookspecs import hookimpl
from spatialguide.registry import Registry
from spatialguide.versions import LIBRARIES, versions
from spatialguide_plugins.losses.presence import Presence

PROMPT = "a cat to the left of a dog"


def test_libraries_and_installed_distributions_are_named_and_others_left_out() -> None:
    found = versions(["pillow", "(this program)", "torch"])
    assert list(found) == [*LIBRARIES, "pillow"]
    assert found["pillow"] == version("pillow")


def test_a_picture_names_the_distributions_of_the_plugins_that_it_asked() -> None:
    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Any) -> None:
            register("own", Presence)

    registry = Registry()
    registry.add(Plugin(), "pillow")
    asked = [SpatialGuide(steps=1, losses=losses, registry=registry)(PROMPT) for losses in ({"presence": {}}, {"own": {}})]
    assert ["pillow" in result.metadata[0]["versions"] for result in asked] == [False, True]


def test_an_unguided_image_needs_no_terms() -> None:
    """Such as of a plugin that was uninstalled since."""
    result = SpatialGuide(GuideConfig.model_validate({"steps": 1, "losses": {"gone": {}}}))(PROMPT, guided=False)
    assert set(result.metadata[0]["versions"]) == set(LIBRARIES)
