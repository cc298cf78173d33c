"""Pieces of the page as HTML: every text of a visitor's, a plugin's or an error's is escaped here."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spatialguide.errors import SpatialGuideError
from spatialguide.pictures.png import enlarged, png_bytes
from spatialguide.web.models import Model
from spatialguide.web.wish import Drawing, Reading, Try

if TYPE_CHECKING:
    from PIL.Image import Image

    from spatialguide.result import Result
    from spatialguide.scenes.scene import Scene


def message(text: str, kind: str = "said") -> str:
    """A line of the page's answers. kind: "said", "fault" or "dim"."""
    return f'<p class="{kind}">{html.escape(text)}</p>'


def understood(reading: Reading) -> str:
    """How the prompt is understood, and whose the relations are."""
    if not reading.prompt:
        return message("Nothing typed yet.")
    parts = [message(reading.fault, "fault")] if reading.scene is None else [_scene(reading.scene)]
    if reading.aside:
        parts.append(message(f"Your own relations are set aside until they fit: {reading.aside}"))
    elif reading.own is not None:
        said = "; ".join(reading.said.splitlines()) or "nothing"
        parts.append(message(f"These are your own relations. The prompt itself says: {said}."))
    return "".join(parts)


def _scene(scene: Scene) -> str:
    left_out = "".join(message(f"ignored: {line}") for line in scene.ignored)
    return message(scene.describe()) + left_out


def empty(name: str) -> str:
    """Where an image will be."""
    return f'<div class="empty">The {name} image comes here.</div>'


def picture(result: Result, name: str) -> str:
    """The drawn image with what it is of, and a link that saves it with its metadata."""
    image, metadata = result.images[0], result.metadata[0]
    prompt = result.scene.prompt
    source = _data("image/png", png_bytes(enlarged(image)[0], metadata))
    caption = (
        f"<b>{name}</b>, seed {metadata['seed']}: {html.escape(prompt)}<br>{method(result)}"
        f'<a download="{name}.png" href="{source}">save the {name} image</a>'
    )
    return _figure(source, f"{name}: {prompt}", caption)


def method(result: Result) -> str:
    """A line that says by which method a guided image was made, and why, where the method was to be found."""
    used, reason = result.metadata[0]["method"], result.trace.reason
    if used is None:
        return ""
    return f'<span class="method">method {html.escape(used + (f": {reason}" if reason else ""))}</span><br>'


def offered(models: Sequence[Model]) -> str:
    """Which models the page offers and which are here, and why others are not offered."""
    parts = []
    for title, shown in (
        ("Offered", [model for model in models if model.offered]),
        (
            "Not offered: serve with --all-models, or a --config that names one",
            [m for m in models if not m.offered],
        ),
    ):
        rows = "".join(
            f'<tr class="{"here" if model.here else "away"}"><th scope="row">{html.escape(model.name)}</th>'
            f"<td>{html.escape(model.state)}</td></tr>"
            for model in shown
        )
        parts.append(f'<table class="models"><caption>{title}</caption>{rows}</table>' if rows else "")
    return "".join(parts)


def tries(shown: Sequence[Try]) -> str:
    """The last drawings of a visit as buttons, the newest first."""
    if not shown:
        return ""
    buttons = "".join(
        f'<button type="button" data-try="{made.number}" title="Bring back its prompt, seed and settings">'
        f'<img src="{made.thumbnail}" alt="try {made.number}, seed {made.wish.seed}: {html.escape(made.wish.prompt)}"></button>'
        for made in reversed(shown)
    )
    return f'<div class="tries" role="group" aria-label="Your last pictures">{buttons}</div>'


def thumbnail(image: Image) -> str:
    """A small picture as an address."""
    small = image.convert("RGB")
    small.thumbnail((96, 96))
    return _data("image/png", png_bytes(small))


def maps(result: Result, step: int, name: str) -> str:
    """The attention at a step. Made when it is asked for: all frames of all visitors would not fit."""
    from spatialguide.pictures.attention import attention_frame

    frame = attention_frame(result.images[0], result.trace, result.scene, step)
    title = f"{name}, attention at step {step}"
    return _figure(_data("image/png", png_bytes(enlarged(frame)[0])), f"{title}: {result.scene.describe()}", title)


def _figure(source: str, alt: str, caption: str) -> str:
    """caption: HTML."""
    return f'<figure class="drawn"><img src="{source}" alt="{html.escape(alt)}"><figcaption>{caption}</figcaption></figure>'


def sheet(drawing: Drawing) -> str:
    """The guided image's attention at every step, with links to save it and its animation."""
    from spatialguide.pictures.attention import gif_bytes

    if not drawing.steps:
        return ""
    animation = _data("image/gif", gif_bytes(drawing.guided.attention_frames()))
    source = _data("image/png", png_bytes(drawing.guided.attention_sheet()))
    return (
        f'<figure class="sheet"><img src="{source}" alt="attention to each object at every step of the guided image">'
        f'<figcaption><a download="maps.png" href="{source}">save this sheet</a> · '
        f'<a download="maps.gif" href="{animation}">save the animation</a></figcaption></figure>'
    )


def _data(kind: str, content: bytes) -> str:
    """Content as an address that browsers show and save without asking anyone."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def curves(drawing: Drawing) -> str:
    """Loss terms, correction and centroids over the steps."""
    from spatialguide.pictures.attention import figure_bytes

    if not drawing.steps:
        return ""
    try:
        figure = drawing.guided.figure()
    except SpatialGuideError as error:
        return message(str(error))
    source = _data("image/png", figure_bytes(figure, dpi=110))
    words = "loss terms, correction and centroids over the steps"
    return f'<figure class="sheet"><img src="{source}" alt="{words}"></figure>'
