"""The canvas: a box for each object where guidance would have it, to be dragged or moved with the arrow keys."""

from __future__ import annotations

import html
from collections.abc import Sequence

from spatialguide.pictures.diagram import MOST_OBJECTS
from spatialguide.pictures.png import COLOURS
from spatialguide.scenes.layout import Box
from spatialguide.scenes.scene import Scene

#: A box in the place of another is shown so much smaller, so that both are seen.
_SMALLER = 0.66

#: A moved box is told to the page as "index x y" in the hidden field `moved`, a chosen picture as its number in `chosen`. The
#: number at the end makes each message another. What is drawn anew keeps the keyboard's focus.
SCRIPT = """() => {
    let said = 0, dragged = null, focused = null, waiting = null;
    const tell = (id, text) => {
        const field = document.querySelector(`#${id} textarea, #${id} input`);
        field.value = `${text} ${++said}`;
        field.dispatchEvent(new Event("input", {bubbles: true}));
    };
    const within = value => Math.min(1, Math.max(0, value));
    const middle = box => [parseFloat(box.style.left) / 100, parseFloat(box.style.top) / 100];
    const put = (box, [x, y]) => { box.style.left = `${100 * within(x)}%`; box.style.top = `${100 * within(y)}%` };
    const settle = box => {
        clearTimeout(waiting);
        waiting = null;
        tell("moved", [box.dataset.object, ...middle(box).map(value => value.toFixed(3))].join(" "));
    };
    document.addEventListener("pointerdown", event => {
        const box = event.target.closest?.("#canvas .box");
        if (!box || event.button) return;
        const [x, y] = middle(box);
        dragged = {box, from: [event.clientX, event.clientY], at: [x, y], ground: box.parentElement.getBoundingClientRect()};
        box.setPointerCapture(event.pointerId);
        box.focus();
        event.preventDefault();
    });
    document.addEventListener("pointermove", event => {
        if (!dragged) return;
        const {box, from, at, ground} = dragged;
        dragged.gone = true;
        box.classList.add("held");
        put(box, [at[0] + (event.clientX - from[0]) / ground.width, at[1] + (event.clientY - from[1]) / ground.height]);
    });
    const drop = event => {
        if (!dragged) return;
        const {box, at, gone} = dragged;
        dragged = null;
        box.classList.remove("held");
        if (event.type === "pointercancel") put(box, at);
        else if (gone) settle(box);
    };
    document.addEventListener("pointerup", drop);
    document.addEventListener("pointercancel", drop);
    const steps = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]};
    document.addEventListener("keydown", event => {
        const box = event.target.closest?.("#canvas .box"), step = steps[event.key];
        if (!box || !(step || (event.key === "Enter" && waiting))) return;
        event.preventDefault();
        clearTimeout(waiting);
        if (!step) return settle(box);
        const [x, y] = middle(box);
        put(box, [x + step[0], y + step[1]]);
        waiting = setTimeout(() => settle(box), 800);
    });
    document.addEventListener("focusin", event => {
        focused = event.target.closest?.("#canvas .box")?.getAttribute("aria-label");
    });
    new MutationObserver(() => {
        if (!focused || document.activeElement !== document.body) return;
        [...document.querySelectorAll("#canvas .box")].find(box => box.getAttribute("aria-label") === focused)?.focus();
    }).observe(document.body, {childList: true, subtree: true});
    document.addEventListener("click", event => {
        const chosen = event.target.closest?.("#tries [data-try]");
        if (chosen) tell("chosen", chosen.dataset.try);
    });
}"""


def canvas(scene: Scene | None, boxes: Sequence[Box]) -> str:
    """A scene's boxes with a line for each relation between two; nothing where there is no object, or too many."""
    if scene is None or not 0 < len(scene.objects) <= MOST_OBJECTS:
        return ""
    middles = [(50 * (x0 + x1), 50 * (y0 + y1)) for x0, y0, x1, y1 in boxes]
    lines = "".join(
        f'<line x1="{middles[edge.subject][0]:g}" y1="{middles[edge.subject][1]:g}" '
        f'x2="{middles[ground][0]:g}" y2="{middles[ground][1]:g}"/>'
        for edge in scene.relations
        for ground in edge.objects
    )
    shown = "".join(_box(scene, index, middles[index], _side(index, boxes)) for index in range(len(boxes)))
    said = html.escape(f"Layout of {scene.describe()}")
    return (
        f'<div class="ground" role="group" aria-label="{said}">'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>{shown}</div>'
        '<p class="dim">Drag a box, or use the arrow keys: the relations follow.</p>'
    )


def _side(index: int, boxes: Sequence[Box]) -> float:
    """Of a box in image sides; what lies in one place with others is smaller."""
    x0, _, x1, _ = boxes[index]
    return (x1 - x0) * _SMALLER ** boxes[index + 1 :].count(boxes[index])


def _box(scene: Scene, index: int, middle: tuple[float, float], side: float) -> str:
    name = html.escape(scene.name(index))
    return (
        f'<div class="box" role="button" tabindex="0" data-object="{index}" '
        f'aria-label="{name}: drag it, or use the arrow keys" '
        f'style="left:{middle[0]:.2f}%;top:{middle[1]:.2f}%;width:{100 * side:.2f}%;z-index:{100 - round(99 * side)};'
        f'--own:{COLOURS[index % len(COLOURS)]}">{name}</div>'
    )
