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
figure.drawn { margin: 0; text-align: center }
figure.drawn img { width: 100%; max-width: 420px; border-radius: 8px; margin: 0 auto; display: block }
figure.drawn figcaption { font-size: 0.95rem; margin: 6px auto 0; max-width: 420px; overflow-wrap: anywhere }
figure.drawn figcaption b { font-weight: 600 }
/* On a telephone they are moved sideways, not made too small to read. */
figure.sheet { margin: 0 0 1em; overflow-x: auto }
figure.sheet img { width: 100%; min-width: 560px }
.scene { overflow-x: auto }
/* displaCy writes black on white, and a size, into the element. Narrow screens show it smaller, as far as it can be read. */
.scene svg { color: inherit !important; background: none !important }
.scene svg { height: auto !important; max-width: max(100%, 0.6 * var(--natural)) !important }
/* What belongs to another prompt, or to a drawing before this one. */
.old figure img { opacity: 0.35; filter: grayscale(0.6) }
p.fault { color: #b00020; font-weight: 600 }
.dark p.fault { color: #ff8a80 }
p.dim { color: #555 }
.dark p.dim { color: #bbb }
/* White on the theme's own orange and red is hard to read. */
#draw { background: #c2410c }
#stop { background: #b91c1c }
#draw:disabled { background: #57534e; color: #fff; opacity: 1 }
/* Room for the progress bar, which else lies over the images. */
#status { min-height: 72px }
/* What is going on is said until there is a bar, whose own words then say it. */
#status .pending { opacity: 1 }
#status:has(.progress-bar-wrap) :is(p, .meta-text, .progress-text) { visibility: hidden }
.empty { border: 1px dashed #9996; border-radius: 8px; padding: 4em 1em; text-align: center }
@media (max-width: 640px) {
    .pair { flex-direction: column }
    #status .progress-bar-wrap { width: 90% }
    .empty { padding: 1.5em 1em }
}
"""


def style(gr: Any) -> dict[str, Any]:
    """Theme and style sheet, as Gradio takes them. Fonts and colours of this machine: nothing is fetched."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    # The theme's own grey is hard to read.
    theme.set(block_info_text_color="#555", block_info_text_color_dark="#bbb")
    return {"theme": theme, "css": _CSS}
