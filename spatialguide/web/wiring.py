"""What happens when on the web page: which control asks the studio for what, and where its answer is shown."""

from __future__ import annotations

import logging
import threading
from typing import Any

from spatialguide.errors import SpatialGuideError
from spatialguide.web import fragments
from spatialguide.web.canvas import SCRIPT, canvas
from spatialguide.web.fragments import message
from spatialguide.web.pace import Pace, in_words, share
from spatialguide.web.page import Controls, gradio_module
from spatialguide.web.studio import Studio
from spatialguide.web.style import ACCESSIBLE
from spatialguide.web.wish import Drawing, Reading, Try, Wish

#: Pictures of a visit that are kept.
_KEPT = 8


def connect(page: Any, on: Controls, studio: Studio) -> None:
    """Connect the page's controls; called within the page's block."""
    gr = gradio_module()
    # Of each visitor whose drawing waits or is under way, how to stop it.
    running: dict[str | None, threading.Event] = {}
    ready = {"value": "Draw", "interactive": True}

    def marked(old: bool) -> Any:
        """Whether the pictures are of something else than what the page asks for now."""
        return gr.update(elem_classes=["old"] if old else [])

    def told(now: Reading) -> list[Any]:
        """How the prompt is understood: in words, on the canvas, and for the next time."""
        boxes = () if now.scene is None else studio.boxes(now.scene)
        return [fragments.understood(now), canvas(now.scene, boxes), now]

    def follow(text: str, lines: str, before: Reading, drawing: Drawing | None) -> list[Any]:
        lines = lines or ""
        now = studio.follow(text or "", lines, before)
        old = drawing is not None and drawing.wish.prompt != text
        # What is being typed is not written over.
        return [*told(now), gr.skip() if now.shows(lines) else now.shown, marked(old)]

    def read_anew(text: str) -> list[Any]:
        now = studio.follow(text or "", "", Reading())
        return [*told(now), now.shown]

    def move(said: str, before: Reading) -> list[Any]:
        try:
            index, x, y, _ = said.split()
            now = studio.move(before, int(index), float(x), float(y))
        except ValueError:  # nothing that the page's script says
            now = before
        return [*told(now), now.shown]

    def choose(name: str) -> list[Any]:
        chosen = studio.preset(name)
        guidance = chosen.guidance
        return [list(chosen.losses), guidance.strength, guidance.method, chosen.steps or 0, chosen.width or 0]

    def ask(request: Any) -> tuple[Any, Any, Any]:
        """Take a drawing on, one for each visitor: said at once, however long the queue is."""
        if request.session_hash in running:
            raise gr.Error("Still drawing: wait for it, or press Stop.", duration=5, print_exception=False)
        running[request.session_hash] = threading.Event()
        word = "Waiting for its turn ..." if studio.is_loaded else "Loading the model ..."
        return message(word, "dim"), gr.update(value="Drawing ...", interactive=False), marked(True)

    def draw(request: Any, *values: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008 - Gradio's way of asking
        text, lines, before, kept, name, model, chosen, power, how, count, pixels, number = values
        stopped = running.setdefault(request.session_hash, threading.Event())
        pace = Pace()

        def say(what: str, done: int, total: int) -> None:
            left = pace.left(what, done, total)
            rest = "" if left is None else f", {in_words(left)} left"
            progress(share(what, done, total), desc=f"{what} {done}/{total}{rest}" if total else what)

        try:
            # The boxes may be ahead of what was last answered about them.
            own = studio.follow(text or "", lines or "", before).shown
            # A field that was emptied holds None.
            count, pixels, number = (int(value or 0) for value in (count, pixels, number))
            wish = Wish(text or "", own, name, model, tuple(chosen), power, count, pixels, number, how)
            return [gr.update(**ready), *shown(studio.draw(wish, say, stopped.is_set), kept)]
        except SpatialGuideError as error:
            return [gr.update(**ready), *cleared(str(error), kept)]
        except Exception as error:  # out of memory, a side that the model cannot draw: the page stays up
            logging.getLogger(__name__).exception("drawing failed")
            return [gr.update(**ready), *cleared(f"This could not be drawn: {type(error).__name__}: {error}", kept)]
        finally:
            if running.get(request.session_hash) is stopped:
                del running[request.session_hash]

    def shown(drawing: Drawing, kept: tuple[Try, ...]) -> list[Any]:
        made = Try(kept[-1].number + 1 if kept else 1, drawing.wish, fragments.thumbnail(drawing.guided.images[0]))
        kept = (*kept, made)[-_KEPT:]
        return [
            "".join(map(message, ["Drawn.", *drawing.notes])),
            marked(False),
            fragments.picture(drawing.unguided, "unguided"),
            fragments.picture(drawing.guided, "guided"),
            kept,
            fragments.tries(kept),
            drawing,
            gr.update(maximum=max(2, drawing.steps), value=max(1, drawing.steps), visible=drawing.steps > 0),
            *maps(drawing, drawing.steps),
            fragments.sheet(drawing),
            fragments.curves(drawing),
            drawing.code,
            drawing.config,
        ]

    def cleared(fault: str, kept: tuple[Try, ...]) -> list[Any]:
        """Why nothing was drawn, and no picture of before beside it."""
        empty = [fragments.empty(name) for name in ("unguided", "guided")]
        return [message(fault, "fault"), marked(False), *empty, kept, fragments.tries(kept), None, gr.update(visible=False),
                *[""] * 6]  # fmt: skip

    def bring_back(said: str, kept: tuple[Try, ...], drawing: Drawing | None) -> list[Any]:
        """The prompt, the relations and the settings of a try."""
        found = [made.wish for made in kept if str(made.number) == said.partition(" ")[0]]
        if not found:
            return [gr.skip()] * 14
        (wish,) = found
        now = studio.follow(wish.prompt, wish.relations or "", studio.follow(wish.prompt, "", Reading()))
        settings = [
            wish.preset,
            wish.backend,
            list(wish.terms or ()),
            wish.strength,
            wish.method,
            wish.steps,
            wish.side,
            wish.seed,
        ]
        old = drawing is not None and drawing.wish != wish
        return [*told(now), now.shown, marked(old), wish.prompt, *settings]

    def stop(request: Any) -> tuple[str, Any]:
        found = running.pop(request.session_hash, None)
        if found is None:
            return message("Nothing is being drawn for you."), gr.update(**ready)
        found.set()
        return message("Stopped."), gr.update(**ready)

    def leave(request: Any) -> None:
        stop(request)

    def refused(request: Any) -> tuple[Any, Any]:
        """Gradio's queue was full: it has said so. A drawing that was stopped fails too, and has been answered."""
        if running.pop(request.session_hash, None) is None:
            return gr.skip(), gr.update(**ready)
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
    typed: list[Any] = [on.prompt, on.relations, on.reading]
    answers: list[Any] = [on.understood, on.canvas, on.reading, on.relations]
    settings: list[Any] = [on.preset, on.backend, on.terms, on.strength, on.method, on.steps, on.side, on.seed]
    gr.on(
        [on.prompt.change, on.relations.change], follow, [*typed, on.drawn], [*answers, on.pictures],
        trigger_mode="always_last", **light,
    )  # fmt: skip
    on.anew.click(read_anew, [on.prompt], answers, **light)
    on.moved.change(move, [on.moved, on.reading], answers, trigger_mode="always_last", **light)
    on.chosen.change(
        bring_back, [on.chosen, on.kept, on.drawn], [*answers, on.pictures, on.prompt, *settings],
        trigger_mode="always_last", **light,
    )  # fmt: skip
    on.preset.input(choose, [on.preset], [on.terms, on.strength, on.method, on.steps, on.side], **light)
    asked = gr.on(
        [on.go.click, on.prompt.submit], ask, None, [on.status, on.go, on.pictures],
        trigger_mode="multiple", concurrency_limit=None, show_progress="hidden",
    )  # fmt: skip
    drawn_now = asked.success(
        draw,
        [*typed, on.kept, *settings],
        [on.go, on.status, on.pictures, on.unguided, on.guided, on.kept, on.tries, on.drawn, on.step,
         on.unguided_maps, on.guided_maps, on.sheet, on.curves, on.code, on.config],
        concurrency_limit=1,
        show_progress_on=[on.status],
    )  # fmt: skip
    drawn_now.failure(refused, None, [on.status, on.go], **light)
    on.halt.click(stop, None, [on.status, on.go], cancels=[drawn_now], **light)
    page.unload(leave)  # nobody waits for it any more
    on.step.change(maps, [on.drawn, on.step], [on.unguided_maps, on.guided_maps], trigger_mode="always_last", **light)
    page.load(None, js=ACCESSIBLE)
    page.load(None, js=SCRIPT)
