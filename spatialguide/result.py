"""What a guide's call gives back: images, and what made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatialguide.scenes.scene import Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from spatialguide.guidance.trace import Trace


@dataclass(frozen=True)
class Result:
    """Images of one call, prompt after prompt, with what made them.

    metadata: JSON-ready description (prompts, scenes, seeds, configuration, version), one dict per image.
    """

    images: list[Image]
    scenes: tuple[Scene, ...]
    trace: Trace
    metadata: list[dict[str, Any]]

    @property
    def scene(self) -> Scene:
        """The first prompt's scene."""
        return self.scenes[0]

    def scene_of(self, image: int) -> Scene:
        """The scene of one image."""
        return self.scenes[image * len(self.scenes) // len(self.images)]

    def attention_sheet(self, image: int = 0) -> Image:
        """Every object's attention over the steps, laid over the image: a row for each object (`pictures.attention_sheet`).

        Raises:
            PictureError: the call was not told to watch, or the prompt has no object.
        """
        from spatialguide.pictures.attention import attention_sheet

        return attention_sheet(self.images[image], self.trace, self.scene_of(image), image)

    def attention_frames(self, image: int = 0) -> list[Image]:
        """The same as an animation, a frame for each step, for `pictures.save_gif` (`pictures.attention_frames`).

        Raises:
            PictureError: the call was not told to watch, or the prompt has no object.
        """
        from spatialguide.pictures.attention import attention_frames

        return attention_frames(self.images[image], self.trace, self.scene_of(image), image)

    def figure(self, image: int = 0) -> Figure:
        """Loss terms, strength and centroid paths as a matplotlib figure (`pictures.trace_figure`).

        Raises:
            PictureError: matplotlib is missing, or the image was neither guided nor watched.
        """
        from spatialguide.pictures.attention import trace_figure

        scene = self.scene_of(image)
        return trace_figure(self.trace, image, [scene.name(index) for index in range(len(scene.objects))])

    def save(self, path: str | Path, image: int = 0) -> None:
        """Write an image as a PNG that carries what made it, for `spatialguide replay`.

        Raises:
            OutputError: it cannot be written there, or the name does not end in .png.
        """
        from spatialguide.pictures.png import save_png

        save_png(self.images[image], Path(path), self.metadata[image])

    def _repr_png_(self) -> bytes:
        """The images side by side, for notebooks."""
        from spatialguide.pictures.attention import row
        from spatialguide.pictures.png import png_bytes

        return png_bytes(row(self.images))
