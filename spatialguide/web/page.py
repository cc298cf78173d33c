"""The web page: type a prompt, see how it is understood, and draw it unguided and guided side by side.

`make_page` builds it with Gradio, `spatialguide.web.server` serves it. What the page does is a method of `Studio`, which knows
no Gradio.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from spatialguide.errors import ConfigError, SpatialGuideError
from spatialguide.web import fragments
from spatialguide.web.fragments import message
from spatialguide.web.studio import Drawing, Reading, Studio, Wish
from spatialguide.web.style import ACCESSIBLE

if TYPE_CHECKING:
    import gradio

_EXAMPLES = ("a cat to the left of a dog", "a giraffe above a bus", "a cat to the left of a dog, above a red car")
_HEAD = """<h1>spatialguide</h1>
<p>Type what goes where. The same model draws it twice from one seed: left alone, and guided.</p>"""
_PROMPT_HELP = "Say what goes where: left of, right of, above, below, between, inside, near, in the top left corner ..."
_HOW_TO_DRAW = "Press Draw, or Shift+Enter in the prompt. Stop ends a drawing."
_RELATIONS_HELP = "One a line: cat left_of dog. Your own beat the prompt's, and stay while the prompt has what they name."
#: What the bundled loss terms do, for people who draw; a plugin's term stands by its name.
_TERMS = {
    "alignment": "puts each object on its side",
    "attend_and_excite": "makes the weakest object show",
    "balance": "keeps objects of like size",
    "boxdiff": "fills a box for each object, and nothing beside it",
    "conform": "keeps objects from mixing",
    "divide_and_bind": "makes each object stand out somewhere",
    "layout_guidance": "keeps each object in a box",
    "overlap": "keeps objects off each other",
    "placement": "gives each object a place where all relations hold",
    "presence": "keeps each object compact",
    "presence_first": "shows the objects first, then places them",
    "self_guidance": "moves and sizes objects to their boxes",
    "storm": "carries each object to its side",
}


def make_page(studio: Studio) -> gradio.Blocks:
    """The page, ready to be served.

    Raises:
        ConfigError: Gradio is missing.
    """
    gr = gradio_module()
    start = studio.preset(studio.presets[0])
    terms_offered = [(f"{name}: {_TERMS[name]}" if name in _TERMS else name, name) for name in studio.registry.names("losses")]
    with gr.Blocks(title="spatialguide", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.HTML(_HEAD)
        drawn = gr.State(None, time_to_live=3600)
        reading = gr.State(Reading())
        with gr.Row():
            with gr.Column(scale=3):
                prompt = gr.Textbox(
                    label="Prompt", info=_PROMPT_HELP, lines=2, max_lines=6, max_length=studio.limits.prompt, elem_id="prompt"
                )
                with gr.Row(elem_id="buttons"):
                    go = gr.Button("Draw", variant="primary", elem_id="draw", min_width=100)
                    halt = gr.Button("Stop", variant="stop", elem_id="stop", min_width=100)
                status = gr.HTML(message(_HOW_TO_DRAW, "dim"), elem_id="status")
                gr.Examples([[example] for example in _EXAMPLES], [prompt], label="Try")
                understood = gr.HTML(message("Nothing typed yet."), elem_id="understood")
                relations = gr.Textbox(
                    label="Relations", info=_RELATIONS_HELP, lines=3, max_lines=10, max_length=studio.limits.prompt,
                    elem_id="relations",
                )  # fmt: skip
                anew = gr.Button("Take the relations from the prompt", size="sm", elem_id="anew")
            with gr.Column(scale=2):
                with gr.Row():
                    preset = gr.Dropdown(
                        studio.presets, value=studio.presets[0], label="Preset", elem_id="preset", min_width=100
                    )
                    backend = gr.Dropdown(studio.backends, value=start.backend, label="Model", elem_id="backend", min_width=100)
                with gr.Row():
                    seed = gr.Number(0, precision=0, minimum=0, label="Seed", info="any number", elem_id="seed", min_width=100)
                    strength = gr.Number(
                        start.guidance.strength, minimum=0, step=0.5, label="Strength", info="0: unguided",
                        elem_id="strength", min_width=100,
                    )  # fmt: skip
                with gr.Accordion("Advanced: steps, size, loss terms", open=False, elem_id="advanced"):
                    with gr.Row():
                        steps = gr.Number(
                            start.steps or 0, precision=0, minimum=0, label="Steps", info="0: the usual", elem_id="steps",
                            min_width=100,
                        )  # fmt: skip
                        side = gr.Number(
                            start.width or 0, precision=0, minimum=0, step=8, label="Side in pixels", info="0: the usual",
                            elem_id="side", min_width=100,
                        )  # fmt: skip
                    terms = gr.CheckboxGroup(
                        terms_offered, value=list(start.losses), label="Loss terms", info="What guidance works towards",
                        elem_id="terms",
                    )  # fmt: skip
        with gr.Column(elem_id="pictures") as pictures:
            with gr.Row(elem_classes="pair"):
                unguided, guided = (gr.HTML(fragments.empty(name), elem_id=name) for name in ("unguided", "guided"))
            step = gr.Slider(1, 2, value=1, step=1, label="Attention at step", interactive=True, visible=False, elem_id="step")
            with gr.Row(elem_classes="pair"):
                unguided_maps, guided_maps = (gr.HTML(elem_id=f"{name}-maps") for name in ("unguided", "guided"))
            with gr.Accordion("All steps, curves, code and configuration", open=False, elem_id="more"):
                sheet = gr.HTML(elem_id="sheet")
                curves = gr.HTML(elem_id="curves")
                with gr.Row():
                    code = gr.Code(language="python", label="Python", interactive=False, elem_id="code")
                    config = gr.Code(language="yaml", label="Configuration for --config", interactive=False, elem_id="config")

        # Of each visitor whose drawing waits or is under way, how to stop it.
        running: dict[str | None, threading.Event] = {}
        ready = {"value": "Draw", "interactive": True}

        def marked(old: bool) -> Any:
            """Whether the pictures are of something else than what the page asks for now."""
            return gr.update(elem_classes=["old"] if old else [])

        def follow(text: str, lines: str, before: Reading, drawing: Drawing | None) -> tuple[str, Any, Reading, Any]:
            now = studio.follow(text or "", lines or "", before)
            old = drawing is not None and drawing.wish.prompt != text
            # What is being typed is not written over.
            return fragments.understood(now), gr.skip() if now.shows(lines) else now.shown, now, marked(old)

        def read_anew(text: str) -> tuple[str, str, Reading]:
            now = studio.follow(text or "", "", Reading())
            return fragments.understood(now), now.shown, now

        def choose(name: str) -> tuple[list[str], float, int, int]:
            chosen = studio.preset(name)
            return list(chosen.losses), chosen.guidance.strength, chosen.steps or 0, chosen.width or 0

        def ask(request: Any) -> tuple[Any, Any, Any]:
            """Take a drawing on, one for each visitor: said at once, however long the queue is."""
            if request.session_hash in running:
                raise gr.Error("Still drawing: wait for it, or press Stop.", duration=5, print_exception=False)
            running[request.session_hash] = threading.Event()
            word = "Waiting for its turn ..." if studio.is_loaded else "Loading the model ..."
            return message(word, "dim"), gr.update(value="Drawing ...", interactive=False), marked(True)

        def draw(request: Any, *values: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008 - Gradio's way of asking
            text, lines, before, name, model, chosen, power, count, pixels, number = values
            stopped = running.setdefault(request.session_hash, threading.Event())

            def say(what: str, done: int, total: int) -> None:
                progress((done, total) if total else None, desc=f"{what} {done}/{total}")

            try:
                # The boxes may be ahead of what was last answered about them.
                own = studio.follow(text or "", lines or "", before).shown
                # A field that was emptied holds None.
                whole = (int(value or 0) for value in (count, pixels, number))
                wish = Wish(text or "", own, name, model, tuple(chosen), power, *whole)
                return [gr.update(**ready), *shown(studio.draw(wish, say, stopped.is_set))]
            except SpatialGuideError as error:
                return [gr.update(**ready), *cleared(str(error))]
            except Exception as error:  # out of memory, a side that the model cannot draw: the page stays up
                logging.getLogger(__name__).exception("drawing failed")
                return [gr.update(**ready), *cleared(f"This could not be drawn: {type(error).__name__}: {error}")]
            finally:
                if running.get(request.session_hash) is stopped:
                    del running[request.session_hash]

        def shown(drawing: Drawing) -> list[Any]:
            return [
                "".join(map(message, ["Drawn.", *drawing.notes])),
                marked(False),
                fragments.picture(drawing.unguided, "unguided"),
                fragments.picture(drawing.guided, "guided"),
                drawing,
                gr.update(maximum=max(2, drawing.steps), value=max(1, drawing.steps), visible=drawing.steps > 0),
                *maps(drawing, drawing.steps),
                fragments.sheet(drawing),
                fragments.curves(drawing),
                drawing.code,
                drawing.config,
            ]

        def cleared(fault: str) -> list[Any]:
            """Why nothing was drawn, and no picture of before beside it."""
            empty = [fragments.empty(name) for name in ("unguided", "guided")]
            return [message(fault, "fault"), marked(False), *empty, None, gr.update(visible=False), *[""] * 6]

        def stop(request: Any) -> tuple[str, Any]:
            found = running.pop(request.session_hash, None)
            if found is None:
                return message("Nothing is being drawn for you."), gr.update(**ready)
            found.set()
            return message("Stopped."), gr.update(**ready)

        def leave(request: Any) -> None:
            stop(request)

        def refused(request: Any) -> tuple[str, Any]:
            """Gradio's queue was full: it has said so."""
            running.pop(request.session_hash, None)
            return message("This was not drawn: try again in a while.", "fault"), gr.update(**ready)

        for asking in (ask, draw, stop, leave, refused):
            asking.__annotations__["request"] = gr.Request  # the class itself, by which Gradio knows what to hand over

        def maps(drawing: Drawing | None, at: float) -> tuple[str, str]:
            if drawing is None or not drawing.steps:
                return "", ""
            at = min(int(at), drawing.steps)
            return fragments.maps(drawing.unguided, at, "unguided"), fragments.maps(drawing.guided, at, "guided")

        # What is answered at once does not wait behind drawings, nor count among them.
        light: dict[str, Any] = {"show_progress": "hidden", "queue": False}
        boxes: list[Any] = [prompt, relations, reading]
        gr.on(
            [prompt.change, relations.change],
            follow,
            [*boxes, drawn],
            [understood, relations, reading, pictures],
            trigger_mode="always_last",
            **light,
        )
        anew.click(read_anew, [prompt], [understood, relations, reading], **light)
        preset.input(choose, [preset], [terms, strength, steps, side], **light)
        asked = gr.on(
            [go.click, prompt.submit], ask, None, [status, go, pictures],
            trigger_mode="multiple", concurrency_limit=None, show_progress="hidden",
        )  # fmt: skip
        drawn_now = asked.success(
            draw,
            [*boxes, preset, backend, terms, strength, steps, side, seed],
            [go, status, pictures, unguided, guided, drawn, step, unguided_maps, guided_maps, sheet, curves, code, config],
            concurrency_limit=1,
            show_progress_on=[status],
        )
        drawn_now.failure(refused, None, [status, go], **light)
        halt.click(stop, None, [status, go], cancels=[drawn_now], **light)
        page.unload(leave)  # nobody waits for it any more
        step.change(maps, [drawn, step], [unguided_maps, guided_maps], trigger_mode="always_last", **light)
        page.load(None, js=ACCESSIBLE)
    queued: gradio.Blocks = page.queue(max_size=studio.limits.queue, api_open=False)
    return queued


def gradio_module() -> Any:
    """Gradio, imported when it is needed.

    Raises:
        ConfigError: it is missing.
    """
    try:
        import gradio
    except ImportError as error:
        raise ConfigError('the page needs Gradio: python -m pip install "spatialguide[web]"') from error
    return gradio
