"""What is where on the web page: type a prompt, see how it is understood, and draw it unguided and guided side by side.

`make_page` builds it with Gradio, `spatialguide.web.wiring` says what happens when, `spatialguide.web.server` serves it. What
the page does is a method of `Studio`, which knows no Gradio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spatialguide.errors import ConfigError
from spatialguide.web import fragments
from spatialguide.web.fragments import message
from spatialguide.web.studio import Studio
from spatialguide.web.wish import Reading

if TYPE_CHECKING:
    import gradio

_EXAMPLES = ("a cat to the left of a dog", "a giraffe above a bus", "a cat to the left of a dog, above a red car")
_HEAD = """<h1>spatialguide</h1>
<p>Say what goes where. The same model draws it twice from one seed: left alone, and guided.</p>"""
_PROMPT_HELP = "left of, right of, above, below, between, inside, near, in the top left corner ..."
_HOW_TO_DRAW = "Press Draw, or Shift+Enter in the prompt."
_RELATIONS_HELP = "One a line: cat left_of dog. Your own beat the prompt's, and stay while the prompt has what they name."
#: What the bundled loss terms do, for people who draw; a plugin's term stands by its name.
_TERMS = {
    "alignment": "puts each object on its side",
    "attend_and_excite": "makes the weakest object show",
    "balance": "keeps objects of like size",
    "binding": "keeps colours and the like with their objects",
    "boxdiff": "fills a box for each object, and nothing beside it",
    "conform": "keeps objects from mixing",
    "depth": "puts things on, behind and inside each other",
    "divide_and_bind": "makes each object stand out somewhere",
    "layout_guidance": "keeps each object in a box",
    "overlap": "keeps objects off each other",
    "placement": "gives each object a place where all relations hold",
    "presence": "keeps each object compact",
    "presence_first": "shows the objects first, then places them",
    "self_guidance": "moves and sizes objects to their boxes",
    "storm": "carries each object to its side",
    "superiority": "keeps the whole of an object on its side",
}
_METHODS = {
    "gradient": "corrects each step along the losses",
    "bias": "steers attention to boxes: nearly as fast as unguided",
    "both": "steers, and corrects now and then",
    "auto": "both where gradients can run, else bias",
}


@dataclass(frozen=True)
class Controls:
    """The page's parts, by what they hold."""

    prompt: Any
    go: Any
    halt: Any
    status: Any
    understood: Any
    canvas: Any
    relations: Any
    anew: Any
    preset: Any
    backend: Any
    seed: Any
    strength: Any
    method: Any
    steps: Any
    side: Any
    terms: Any
    pictures: Any
    unguided: Any
    guided: Any
    tries: Any
    step: Any
    unguided_maps: Any
    guided_maps: Any
    sheet: Any
    curves: Any
    code: Any
    config: Any
    #: Of one visit, on the server.
    drawn: Any
    reading: Any
    kept: Any
    #: What the page's script says, see `canvas.SCRIPT`.
    moved: Any
    chosen: Any


def make_page(studio: Studio) -> gradio.Blocks:
    """The page, ready to be served.

    Raises:
        ConfigError: Gradio is missing.
    """
    from spatialguide.web.wiring import connect

    gr = gradio_module()
    with gr.Blocks(title="spatialguide", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.HTML(_HEAD, elem_id="head")
        state = {"drawn": gr.State(None, time_to_live=3600), "reading": gr.State(Reading()), "kept": gr.State(())}
        said = {name: gr.Textbox(visible="hidden", elem_id=name, max_length=100) for name in ("moved", "chosen")}
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="ask"):
                asking = _ask(gr, studio)
            with gr.Column(elem_id="pictures") as pictures:
                shown = _show(gr)
            with gr.Column(elem_id="settings"):
                settings = _settings(gr, studio)
        connect(page, Controls(**asking, **settings, **shown, **state, **said, pictures=pictures), studio)
    queued: gradio.Blocks = page.queue(max_size=studio.limits.queue, api_open=False)
    return queued


def _ask(gr: Any, studio: Studio) -> dict[str, Any]:
    """The prompt, and how it is understood."""
    most = studio.limits.prompt
    prompt = gr.Textbox(label="Prompt", info=_PROMPT_HELP, lines=2, max_lines=6, max_length=most, elem_id="prompt")
    with gr.Row(elem_id="buttons"):
        go = gr.Button("Draw", variant="primary", elem_id="draw", min_width=100, scale=3)
        halt = gr.Button("Stop", variant="secondary", elem_id="stop", min_width=80, scale=1)
    status = gr.HTML(message(_HOW_TO_DRAW, "dim"), elem_id="status")
    gr.Examples([[example] for example in _EXAMPLES], [prompt], label="Try")
    understood = gr.HTML(message("Nothing typed yet."), elem_id="understood")
    canvas = gr.HTML(elem_id="canvas")
    relations = gr.Textbox(label="Relations", info=_RELATIONS_HELP, lines=2, max_lines=10, max_length=most, elem_id="relations")
    anew = gr.Button("Take the relations from the prompt", size="sm", elem_id="anew")
    return {"prompt": prompt, "go": go, "halt": halt, "status": status, "understood": understood, "canvas": canvas,
            "relations": relations, "anew": anew}  # fmt: skip


def _settings(gr: Any, studio: Studio) -> dict[str, Any]:
    """Whence and how it is drawn."""
    start = studio.preset(studio.presets[0])
    models = studio.models
    names = [(f"{model.name}: {'here' if model.here else 'not here yet'}", model.name) for model in models if model.offered]
    terms = [(f"{name}: {_TERMS[name]}" if name in _TERMS else name, name) for name in studio.registry.names("losses")]
    methods = [(f"{name}: {words}", name) for name, words in _METHODS.items()]
    small: dict[str, Any] = {"min_width": 100}
    made = {}
    with gr.Row():
        made["preset"] = gr.Dropdown(studio.presets, value=studio.presets[0], label="Preset", elem_id="preset", **small)
        made["backend"] = gr.Dropdown(names, value=start.backend, label="Model", elem_id="backend", **small)
    with gr.Row():
        numbers: dict[str, Any] = {"precision": 0, "minimum": 0, **small}
        made["seed"] = gr.Number(0, label="Seed", info="any number", elem_id="seed", **numbers)
        made["strength"] = gr.Number(
            start.guidance.strength, minimum=0, step=0.5, label="Strength", info="0: unguided", elem_id="strength", **small
        )
    with gr.Accordion("Advanced: method, steps, size, loss terms", open=False, elem_id="advanced"):
        made["method"] = gr.Radio(methods, value=start.guidance.method, label="Method of guidance", elem_id="method")
        with gr.Row():
            made["steps"] = gr.Number(start.steps or 0, label="Steps", info="0: the usual", elem_id="steps", **numbers)
            made["side"] = gr.Number(
                start.width or 0, step=8, label="Side in pixels", info="0: the usual", elem_id="side", **numbers
            )
        made["terms"] = gr.CheckboxGroup(
            terms, value=list(start.losses), label="Loss terms", info="What guidance works towards", elem_id="terms"
        )
    with gr.Accordion("Models: which are here", open=False, elem_id="models"):
        gr.HTML(fragments.offered(models))
    return made


def _show(gr: Any) -> dict[str, Any]:
    """What was drawn."""
    made = {}
    with gr.Row(elem_classes="pair"):
        for name in ("unguided", "guided"):
            made[name] = gr.HTML(fragments.empty(name), elem_id=name)
    made["tries"] = gr.HTML(elem_id="tries")
    made["step"] = gr.Slider(1, 2, value=1, step=1, label="Attention at step", interactive=True, visible=False, elem_id="step")
    with gr.Row(elem_classes="pair"):
        for name in ("unguided", "guided"):
            made[f"{name}_maps"] = gr.HTML(elem_id=f"{name}-maps")
    with gr.Accordion("All steps, curves, code and configuration", open=False, elem_id="more"):
        made["sheet"] = gr.HTML(elem_id="sheet")
        made["curves"] = gr.HTML(elem_id="curves")
        with gr.Row():
            made["code"] = gr.Code(language="python", label="Python", interactive=False, elem_id="code")
            made["config"] = gr.Code(language="yaml", label="Configuration for --config", interactive=False, elem_id="config")
    return made


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
