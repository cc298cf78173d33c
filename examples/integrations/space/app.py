"""The page of `spatialguide serve` as a Hugging Face Space. On ZeroGPU each drawing borrows a GPU."""

try:  # first: ZeroGPU must be there before torch looks for a GPU
    import spaces
except ImportError:  # a Space with hardware of its own, or your machine
    spaces = None

from spatialguide.web.page import make_page
from spatialguide.web.studio import Studio
from spatialguide.web.style import style
from spatialguide.web.wish import Drawing, Limits, Wish


def on_gpu(function):
    """The function, on a borrowed GPU where GPUs are borrowed."""
    return spaces.GPU(duration=60)(function) if spaces else function


LIMITS = Limits(steps=50, queue=32, seconds=60)


@on_gpu
def draw(wish: Wish) -> Drawing:
    """In a process of its own on ZeroGPU, so that nothing but the wish and the drawing goes in and out."""
    return Studio.draw(studio, wish)


class SpaceStudio(Studio):
    """Draws on the borrowed GPU; its page cannot ask how far it is."""

    def draw(self, wish, say=lambda what, done, total: None, stopped=lambda: False):
        """As `Studio.draw`, without progress and without stopping within a step."""
        say("drawing", 0, 0)
        return draw(wish)


studio = SpaceStudio(limits=LIMITS)

if __name__ == "__main__":
    import gradio

    make_page(studio).launch(server_name="0.0.0.0", **style(gradio))
