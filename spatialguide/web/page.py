"""The web page: type a prompt, see how it is understood, and draw it unguided and guided side by side.

`make_page` builds it with Gradio, `serve` runs it. What the page does is a method of `Studio`, which knows no Gradio.
"""

from __future__ import annotations

import base64
import html
import logging
import threading
from typing import TYPE_CHECKING, Any

from spatialguide.errors import ConfigError, SpatialGuideError
from spatialguide.pictures.png import enlarged, png_bytes
from spatialguide.web.studio import Drawing, Limits, Reading, StoppedError, Studio, Wish, relation_lines

if TYPE_CHECKING:
    import gradio
    from PIL import Image

    from spatialguide.result import Result
    from spatialguide.scenes.scene import Scene

__all__ = ["Drawing", "Limits", "Reading", "StoppedError", "Studio", "Wish", "make_page", "relation_lines", "serve"]

_EXAMPLES = ("a cat to the left of a dog", "a giraffe above a bus", "a cat to the left of a dog, above a red car")
_HEAD = """<h1>spatialguide</h1>
<p>Type what goes where. The same model draws it twice from one seed: left alone, and guided.</p>"""
_PROMPT_HELP = "Say what goes where: left of, right of, above, below, between, inside, near, in the top left corner ..."
_RELATIONS_HELP = "One a line: cat left_of dog. Your own beat the prompt's, and stay while the prompt has what they name."


def make_page(studio: Studio) -> gradio.Blocks:
    """The page, ready to launch.

    Raises:
        ConfigError: Gradio is missing.
    """
    gr = _gradio()
    start = studio.preset(studio.presets[0])
    names = studio.registry.names
    with gr.Blocks(title="spatialguide", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.HTML(_HEAD)
        drawn = gr.State(None, time_to_live=3600)
        reading = gr.State(Reading())
        with gr.Row():
            with gr.Column(scale=3):
                prompt = gr.Textbox(
                    label="Prompt", info=_PROMPT_HELP, lines=2, max_lines=6, max_length=studio.limits.prompt, elem_id="prompt"
                )
                gr.Examples([[example] for example in _EXAMPLES], [prompt], label="Try")
                understood = gr.HTML(_message("Nothing typed yet."), elem_id="understood")
                relations = gr.Textbox(
                    label="Relations", info=_RELATIONS_HELP, lines=3, max_lines=10, max_length=studio.limits.prompt,
                    elem_id="relations",
                )  # fmt: skip
                anew = gr.Button("Take the relations from the prompt", size="sm", elem_id="anew")
            with gr.Column(scale=2):
                with gr.Row():
                    preset = gr.Dropdown(studio.presets, value=studio.presets[0], label="Preset", elem_id="preset")
                    backend = gr.Dropdown(studio.backends, value=start.backend, label="Model", elem_id="backend")
                terms = gr.CheckboxGroup(names("losses"), value=list(start.losses), label="Loss terms", elem_id="terms")
                strength = gr.Number(
                    start.guidance.strength,
                    minimum=0,
                    step=0.5,
                    label="Strength",
                    info="0 leaves the model alone",
                    elem_id="strength",
                )
                with gr.Row():
                    steps = gr.Number(
                        start.steps or 0, precision=0, minimum=0, maximum=studio.limits.steps, label="Steps",
                        info="0: the usual", elem_id="steps",
                        min_width=100,
                    )  # fmt: skip
                    side = gr.Number(
                        start.width or 0, precision=0, minimum=0, maximum=studio.limits.side, step=8, label="Side in pixels",
                        info="0: the usual", elem_id="side",
                        min_width=100,
                    )  # fmt: skip
                    seed = gr.Number(0, precision=0, minimum=0, label="Seed", info="any number", elem_id="seed", min_width=100)
                with gr.Row():
                    go = gr.Button("Draw", variant="primary", elem_id="draw")
                    halt = gr.Button("Stop", variant="stop", elem_id="stop")
        status = gr.HTML(_message(""), elem_id="status")
        with gr.Row(elem_classes="pair"):
            unguided, guided = (gr.HTML(_empty(name), elem_id=name) for name in ("unguided", "guided"))
        step = gr.Slider(1, 2, value=1, step=1, label="Attention at step", interactive=True, visible=False, elem_id="step")
        with gr.Row(elem_classes="pair"):
            unguided_maps, guided_maps = (gr.HTML(elem_id=f"{name}-maps") for name in ("unguided", "guided"))
        with gr.Accordion("All steps, curves, code and configuration", open=False):
            sheet = gr.HTML(elem_id="sheet")
            curves = gr.HTML(elem_id="curves")
            with gr.Row():
                code = gr.Code(language="python", label="Python", interactive=False, elem_id="code")
                config = gr.Code(language="yaml", label="Configuration for --config", interactive=False, elem_id="config")

        # Of each visitor whose drawing is under way, how to stop it.
        running: dict[str | None, threading.Event] = {}

        def follow(text: str, lines: str, before: Reading) -> tuple[str, Any, Reading]:
            now = studio.follow(text, lines, before)
            # What is being typed is not written over.
            return _understood(now), gr.skip() if now.shows(lines) else now.shown, now

        def read_anew(text: str) -> tuple[str, str, Reading]:
            now = studio.follow(text, "", Reading())
            return _understood(now), now.shown, now

        def choose(name: str) -> tuple[list[str], float, int, int]:
            chosen = studio.preset(name)
            return list(chosen.losses), chosen.guidance.strength, chosen.steps or 0, chosen.width or 0

        def draw(request: Any, *values: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008 - Gradio's way of asking
            text, lines, before, name, model, chosen, power, count, pixels, number = values
            # The boxes may be ahead of what was last answered about them.
            own = studio.follow(text, lines, before).shown
            # A number field that was emptied holds None.
            wish = Wish(text, own, name, model, tuple(chosen), power, int(count or 0), int(pixels or 0), int(number or 0))
            stopped = running[request.session_hash] = threading.Event()
            try:
                drawing = studio.draw(wish, lambda what, done, total: progress((done, total), desc=what), stopped.is_set)
            except SpatialGuideError as error:
                return [_message(str(error), fault=True), *[gr.skip()] * 10]
            except Exception as error:  # out of memory, a side that the model cannot draw: the page stays up
                logging.getLogger(__name__).exception("drawing failed")
                return [_message(f"This could not be drawn: {type(error).__name__}: {error}", fault=True), *[gr.skip()] * 10]
            finally:
                if running.get(request.session_hash) is stopped:
                    del running[request.session_hash]
            prompt_text = drawing.guided.scene.prompt
            return [
                "".join(map(_message, [f"Drawn with seed {wish.seed}.", *drawing.notes])),
                _figure(drawing.unguided.images[0], "unguided", prompt_text, drawing.unguided.metadata[0]),
                _figure(drawing.guided.images[0], "guided", prompt_text, drawing.guided.metadata[0]),
                drawing,
                gr.update(maximum=max(2, drawing.steps), value=max(1, drawing.steps), visible=drawing.steps > 0),
                *maps(drawing, drawing.steps),
                _sheet(drawing),
                _curves(drawing),
                drawing.code,
                drawing.config,
            ]

        def stop(request: Any) -> str:
            found = running.get(request.session_hash)
            if found is None:  # nor does it wait in the queue any more
                return _message("Nothing is being drawn for you.")
            found.set()
            return _message("Stopped.")

        for asking in (draw, stop):
            asking.__annotations__["request"] = gr.Request  # the class itself, by which Gradio knows what to hand over

        def maps(drawing: Drawing | None, at: float) -> tuple[str, str]:
            if drawing is None or not drawing.steps:
                return "", ""
            at = min(int(at), drawing.steps)
            return _maps(drawing.unguided, at, "unguided"), _maps(drawing.guided, at, "guided")

        # What is answered at once does not wait behind drawings, nor count among them.
        light: dict[str, Any] = {"show_progress": "hidden", "queue": False}
        boxes: list[Any] = [prompt, relations, reading]
        gr.on(
            [prompt.change, relations.change],
            follow,
            boxes,
            [understood, relations, reading],
            trigger_mode="always_last",
            **light,
        )
        anew.click(read_anew, [prompt], [understood, relations, reading], **light)
        preset.input(choose, [preset], [terms, strength, steps, side], **light)
        drawn_now = gr.on(
            [go.click, prompt.submit],
            draw,
            [*boxes, preset, backend, terms, strength, steps, side, seed],
            [status, unguided, guided, drawn, step, unguided_maps, guided_maps, sheet, curves, code, config],
            concurrency_limit=1,
            show_progress_on=[status],
        )
        halt.click(stop, None, [status], cancels=[drawn_now], **light)
        page.unload(stop)  # nobody waits for it any more
        step.change(maps, [drawn, step], [unguided_maps, guided_maps], trigger_mode="always_last", **light)
        page.load(None, js=_ACCESSIBLE)
    queued: gradio.Blocks = page.queue(max_size=studio.limits.queue, api_open=False)
    return queued


def serve(studio: Studio, host: str = "127.0.0.1", port: int = 7860) -> gradio.Blocks:
    """Serve the page in the background. Bound to this machine by default; nothing is sent elsewhere.

    Args:
        host: address to bind to; "0.0.0.0" lets everyone on the network in.
        port: 0 takes any that is free.

    Returns:
        The page, whose `local_url` says where it is and whose `block_thread()` waits until interrupted.

    Raises:
        ConfigError: Gradio is missing, or the port is taken.
    """
    gr = _gradio()
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    page = make_page(studio)
    try:
        page.launch(
            server_name=host,
            server_port=port or _free_port(host),
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            theme=gr.themes.Default(**fonts),
            css=_CSS,
            max_file_size="1mb",
            state_session_capacity=64,
        )
    except OSError as error:
        raise ConfigError(f"cannot serve at {host}:{port}: {error}; choose another --port") from error
    return page


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise ConfigError('the page needs Gradio: python -m pip install "spatialguide[web]"') from error
    return gradio


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


#: Screen readers say what changes in a place that was there before; elements that come with the change they often miss.
#: The boxes of code come when they are opened, both with the same name.
_ACCESSIBLE = """() => {
    for (const id of ["status", "understood"]) document.getElementById(id)?.setAttribute("aria-live", "polite");
    const names = {code: "Python", config: "Configuration"};
    const name = () => Object.entries(names).forEach(([id, text]) =>
        document.querySelector(`#${id} .cm-content`)?.setAttribute("aria-label", text));
    new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
}"""

_CSS = """
figure.drawn { margin: 0; text-align: center }
figure.drawn img { width: 100%; max-width: 420px; border-radius: 8px; margin: 0 auto; display: block }
/* On a telephone they are moved sideways, not made too small to read. */
figure.sheet { margin: 0 0 1em; overflow-x: auto }
figure.sheet img { width: 100%; min-width: 560px }
figure.drawn figcaption { font-size: 0.95rem; margin-top: 4px }
.scene svg { width: 100%; height: auto; max-height: 220px; color: inherit }
p.fault { color: #b00020; font-weight: 600 }
.dark p.fault { color: #ff8a80 }
span[data-testid="block-info"] + div, .dim, .info { color: #555 !important }
.dark .info { color: #bbb !important }
/* White on the theme's own orange and red is hard to read. */
#draw { background: #c2410c }
#stop { background: #b91c1c }
/* Room for the progress bar, which else lies over the images. */
#status { min-height: 84px }
@media (max-width: 640px) { .pair { flex-direction: column } }
.empty { border: 1px dashed #9993; border-radius: 8px; padding: 4em 1em; text-align: center }
"""


def _message(text: str, fault: bool = False) -> str:
    """A line of the page's answers."""
    return f'<p class="{"fault" if fault else "said"}">{html.escape(text)}</p>'


def _understood(reading: Reading) -> str:
    """How the prompt is understood, and whose the relations are."""
    if not reading.prompt:
        return _message("Nothing typed yet.")
    parts = [_message(reading.fault, fault=True)] if reading.scene is None else [_scene(reading.scene)]
    if reading.aside:
        parts.append(_message(f"Your own relations are set aside until they fit: {reading.aside}"))
    elif reading.own is not None:
        said = "; ".join(reading.said.splitlines()) or "nothing"
        parts.append(_message(f"These are your own relations. The prompt itself says: {said}."))
    return "".join(parts)


def _scene(scene: Scene) -> str:
    from spatialguide.pictures.diagram import scene_svg

    said = html.escape(scene.describe())
    left_out = "".join(f"<p>ignored: {html.escape(line)}</p>" for line in scene.ignored)
    graph = f'<div class="scene" role="img" aria-label="{said}">{scene_svg(scene)}</div>' if scene.relations else ""
    return f"<p>{said}</p>{graph}{left_out}"


def _empty(name: str) -> str:
    return f'<div class="empty">The {name} image comes here.</div>'


def _figure(image: Image.Image, title: str, alt: str, metadata: dict[str, Any] | None = None) -> str:
    """metadata: what the PNG is to carry, with a link to save it."""
    source = _data("image/png", png_bytes(enlarged(image)[0], metadata))
    link = f' · <a download="{title}.png" href="{source}">save the {title} image</a>' if metadata else ""
    words = html.escape(f"{title}: {alt}")
    return f'<figure class="drawn"><img src="{source}" alt="{words}"><figcaption>{title}{link}</figcaption></figure>'


def _maps(result: Result, step: int, name: str) -> str:
    from spatialguide.pictures.attention import attention_frame

    # Made when they are asked for: all frames of all visitors would not fit.
    frame = attention_frame(result.images[0], result.trace, result.scene, step)
    return _figure(frame, f"{name}, attention at step {step}", result.scene.describe())


def _sheet(drawing: Drawing) -> str:
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


def _curves(drawing: Drawing) -> str:
    from spatialguide.pictures.attention import figure_bytes

    if not drawing.steps:
        return ""
    try:
        figure = drawing.guided.figure()
    except SpatialGuideError as error:
        return _message(str(error))
    source = _data("image/png", figure_bytes(figure, dpi=110))
    words = "loss terms, correction and centroids over the steps"
    return f'<figure class="sheet"><img src="{source}" alt="{words}"></figure>'
