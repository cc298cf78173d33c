"""How the page looks, in light and dark, on a desk and on a telephone; and what its scripts add for screen readers."""

from __future__ import annotations

from typing import Any

#: Screen readers say what changes in a place that was there before; elements that come with the change they often miss.
#: The boxes of code come when they are opened, both with the same name.
ACCESSIBLE = """() => {
    for (const id of ["status", "understood"]) document.getElementById(id)?.setAttribute("aria-live", "polite");
    const names = {code: "Python", config: "Configuration"};
    const name = () => Object.entries(names).forEach(([id, text]) =>
        document.querySelector(`#${id} .cm-content`)?.setAttribute("aria-label", text));
    new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
}"""

_CSS = """
#head h1 { font-size: 1.6rem; margin: 0 }
/* The prompt and the settings on the left, the pictures beside them; one below the other on a telephone. */
#desk { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 8fr); gap: 20px; align-items: start }
#desk > * { min-width: 0 !important }
#ask { grid-area: 1 / 1 }
#settings { grid-area: 2 / 1 }
#pictures { grid-area: 1 / 2 / span 3 }
.pair { gap: 12px }
.pair > * { flex: 1 1 0 !important; min-width: 0 !important }
figure.drawn { margin: 0; text-align: center }
figure.drawn img { width: 100%; max-width: 420px; border-radius: 8px; margin: 0 auto; display: block }
figure.drawn figcaption { font-size: 0.95rem; margin: 6px auto 0; max-width: 420px; overflow-wrap: anywhere }
figure.drawn figcaption b { font-weight: 600 }
/* On a telephone they are moved sideways, not made too small to read. */
figure.sheet { margin: 0 0 1em; overflow-x: auto }
figure.sheet img { width: 100%; min-width: 560px }
/* The canvas: boxes over a square, cut into the thirds that places in the picture mean. */
.ground {
    position: relative; aspect-ratio: 1; max-width: 340px; margin: 0 auto; overflow: hidden;
    border: 1px solid #9999; border-radius: 8px;
    --line: linear-gradient(#9993, #9993);
    background-image: var(--line), var(--line), var(--line), var(--line); background-repeat: no-repeat;
    background-position: 33.33% 0, 66.67% 0, 0 33.33%, 0 66.67%;
    background-size: 1px 100%, 1px 100%, 100% 1px, 100% 1px;
}
.ground svg { position: absolute; inset: 0; width: 100%; height: 100% }
.ground line { stroke: #999; stroke-width: 2; stroke-dasharray: 4 4; vector-effect: non-scaling-stroke }
.ground .box {
    position: absolute; aspect-ratio: 1; transform: translate(-50%, -50%); box-sizing: border-box; padding: 2px;
    border: 3px solid var(--own); border-radius: 8px; background: #fff; color: #222;
    text-align: center; /* at the top, where no box inside it hides it */
    font-size: 0.85rem; line-height: 1.15; overflow-wrap: anywhere; overflow: hidden;
    cursor: grab; touch-action: none; user-select: none;
}
.dark .ground .box { background: #27272a; color: #eee }
.ground .box.held { cursor: grabbing; box-shadow: 0 4px 14px #0006; z-index: 200 !important }
.ground .box:focus-visible, .tries button:focus-visible { outline: 3px solid #c2410c; outline-offset: 2px }
.tries { display: flex; gap: 8px; overflow-x: auto; padding: 4px }
.tries button {
    flex: none; padding: 0; border: 1px solid #9999; border-radius: 6px; background: none; cursor: pointer; overflow: hidden;
}
.tries img { display: block; width: 64px; height: 64px; object-fit: cover }
.models { width: 100%; border-collapse: collapse; font-size: 0.9rem; margin-bottom: 8px; border: 0 !important }
.models caption { text-align: left; font-weight: 600; padding-bottom: 4px }
.models :is(th, td) {
    text-align: left; vertical-align: top; padding: 4px 10px 4px 0 !important; overflow-wrap: anywhere;
    border: 0 solid #9995 !important; border-top-width: 1px !important;
}
.models th { white-space: nowrap; width: 1%; font-weight: 400 }
.models .here th::after { content: " \\2713" }
/* What belongs to another prompt, or to a drawing before this one. */
.old figure img { opacity: 0.35; filter: grayscale(0.6) }
p.fault { color: #b00020; font-weight: 600 }
.dark p.fault { color: #ff8a80 }
p.dim, .method { color: var(--block-info-text-color) }
/* White on the theme's own orange is hard to read. */
#draw { background: #c2410c }
#draw:disabled { background: #57534e; color: #fff; opacity: 1 }
/* Room for the progress bar, which else lies over what is below. */
#status:has(.progress-bar-wrap) { min-height: 72px }
/* What is going on is said until there is a bar, whose own words then say it. */
#status .pending { opacity: 1 }
#status:has(.progress-bar-wrap) :is(p, .meta-text, .progress-text) { visibility: hidden }
.empty {
    border: 1px dashed #9996; border-radius: 8px; padding: 1em; text-align: center; max-width: 420px; aspect-ratio: 1;
    margin: 0 auto; display: grid; place-items: center;
}
#canvas p.dim { text-align: center; font-size: 0.85rem; margin: 6px 0 0 }
@media (max-width: 860px) {
    #desk { display: flex; flex-direction: column; align-items: stretch }
    #status .progress-bar-wrap { width: 90% }
    .pair { flex-wrap: nowrap !important; gap: 4px }
    figure.drawn figcaption { font-size: 0.85rem }
    .ground { max-width: 300px }
}
"""


def style(gr: Any) -> dict[str, Any]:
    """Theme and style sheet, as Gradio takes them. Fonts and colours of this machine: nothing is fetched."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    # The theme's own grey is hard to read.
    theme.set(block_info_text_color="#555", block_info_text_color_dark="#bbb")
    return {"theme": theme, "css": _CSS}
