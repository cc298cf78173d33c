"""The web page: type a prompt, see how it is understood, and draw it unguided and guided side by side.

`make_page` builds it with Gradio, `serve` runs it. What the page does is a method of `Studio`, which knows no Gradio.
"""

from __future__ import annotations

import base64
import html
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import yaml

from spatialguide.config import PRESETS, GuideConfig, make_config
from spatialguide.errors import ConfigError, ContradictionError, PromptError, SpatialGuideError, suggestion
from spatialguide.guide import Result, SpatialGuide
from spatialguide.images import enlarged, png_bytes
from spatialguide.marks import stated
from spatialguide.planning import check_scene
from spatialguide.registry import Registry, default_registry
from spatialguide.scene import Scene

if TYPE_CHECKING:
    import gradio
    from PIL import Image

Say = Callable[[str, int, int], object]

_EXAMPLES = ("a cat to the left of a dog", "a giraffe above a bus", "a cat to the left of a dog, above a red car")
_HEAD = """<h1>spatialguide</h1>
<p>Type what goes where. The same model draws it twice from one seed: left alone, and guided.</p>"""
_PROMPT_HELP = "Say what goes where: left of, right of, above, below, between, inside, near, in the top left corner ..."
_RELATIONS_HELP = "One a line: cat left_of dog. Change them, and they beat what was read from the prompt."


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for. side is in pixels, prompt in characters; queue counts waiting drawings of all visitors."""

    steps: int = 100
    side: int = 1024
    prompt: int = 1000
    queue: int = 16


@dataclass(frozen=True)
class Wish:
    """What the page's controls say. relations: one a line; None takes them from the prompt. side: None is the model's usual."""

    prompt: str
    relations: str | None = None
    preset: str = "balanced"
    backend: str = "tiny"
    terms: tuple[str, ...] | None = None
    strength: float | None = None
    steps: int | None = None
    side: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Drawing:
    """Both images of one wish, watched at every step; and the code and the configuration that make the guided one.

    notes: what was not guided or cannot be drawn, one line each.
    """

    unguided: Result
    guided: Result
    code: str
    config: str
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps were watched; 0 where the prompt has no relation."""
        return len(self.guided.trace.seen(0))


@dataclass
class Studio:
    """Reads prompts and draws them, within limits.

    Args:
        base: a configuration to offer beside the presets, under `base_name`.
        limits: what a wish may ask for.
        registry: plugins; all installed ones by default.
        all_models: offer every backend, whose weights are then downloaded when they are first asked for; else the
            configuration's and the bundled one. One model is loaded at a time.
    """

    base: GuideConfig | None = None
    base_name: str = "file"
    limits: Limits = Limits()
    registry: Registry = field(default_factory=default_registry)
    all_models: bool = False
    _loaded: SpatialGuide | None = None

    @property
    def backends(self) -> list[str]:
        """Names of the models that a wish may ask for."""
        if self.all_models:
            return list(self.registry.names("backends"))
        return sorted({make_config().backend, *([] if self.base is None else [self.base.backend])})

    @property
    def presets(self) -> list[str]:
        """Names of what a wish may start from, the one that the page starts with first."""
        return [self.base_name, *PRESETS] if self.base is not None else list(PRESETS)

    def preset(self, name: str) -> GuideConfig:
        """The configuration of this name."""
        return self.base if self.base is not None and name == self.base_name else make_config(name)

    def read(self, prompt: str) -> tuple[Scene, str]:
        """The prompt's scene, and its relations one a line.

        Raises:
            SpatialGuideError: the prompt is empty, too long, or cannot hold.
        """
        scene = self._reader.parse(self._checked(prompt))
        return scene, relation_lines(scene)

    def scene(self, wish: Wish) -> Scene:
        """The scene that a wish asks for: the prompt's, or the one that its own relations state.

        Raises:
            SpatialGuideError: see `read`; or a line is no relation.
        """
        found, lines = self._found(wish)
        if wish.relations is None or _plain(wish.relations) == _plain(lines):
            return found
        if not wish.relations.strip():
            return found.model_copy(update={"relations": ()})
        if len(wish.relations) > self.limits.prompt:
            raise PromptError(f"the relations have over {self.limits.prompt} characters, this page's limit: say less")
        relations = self.registry.relations()
        scene = stated(found.prompt, wish.relations.splitlines(), relations)
        check_scene(scene, relations)
        return scene

    def _found(self, wish: Wish) -> tuple[Scene, str]:
        """As `read`; of a prompt that contradicts itself nothing, where the wish has relations of its own to beat it."""
        try:
            return self.read(wish.prompt)
        except ContradictionError:
            own = _plain(wish.relations or "")
            if not own:
                raise
            return self._reader.parse(_marked(wish.prompt, own)).model_copy(update={"relations": ()}), ""

    def config(self, wish: Wish) -> GuideConfig:
        """The configuration that a wish asks for.

        Raises:
            ConfigError: a value is out of range or over a limit.
        """
        if wish.backend not in self.backends:
            raise ConfigError(f"this page has no model '{wish.backend}'.{suggestion(wish.backend, self.backends)}")
        start = self.preset(wish.preset)
        changes = self._changes(wish, start)
        config = make_config(**_merged(start.model_dump(exclude_unset=True), changes)) if changes else start
        usual = SpatialGuide(config, registry=self.registry).backend.generation
        steps = config.steps or usual.steps or 0
        if steps > self.limits.steps:
            raise ConfigError(f"{steps} steps are over this page's limit of {self.limits.steps}: ask for fewer")
        side = max(config.width or usual.width or 0, config.height or usual.height or 0)
        if side > self.limits.side:
            raise ConfigError(f"{side} pixels are over this page's limit of {self.limits.side}: ask for fewer")
        return config

    def draw(self, wish: Wish, say: Say = lambda what, done, total: None) -> Drawing:
        """Draw a wish unguided and guided, from the same seed.

        Args:
            say: told in a few words what is going on, with steps done and steps in all.

        Raises:
            SpatialGuideError: bad input, with the cause and the remedy.
        """
        scene, config = self.scene(wish), self.config(wish)
        say("loading the model", 0, 1)
        guide = self._guide(config)
        results = []
        for guided, what in ((False, "drawing unguided"), (True, "drawing guided")):
            results.append(
                guide(
                    scene.prompt,
                    seed=wish.seed,
                    scene=scene,
                    guided=guided,
                    watch=True,
                    on_step=partial(say, what),
                )
            )
        unguided, guided_result = results
        return Drawing(unguided, guided_result, self.code(wish), self.yaml(wish), tuple(_notes(guided_result.scene, guide)))

    def code(self, wish: Wish) -> str:
        """Python that draws the wish's guided image."""
        start = self.preset(wish.preset)
        head: dict[str, Any] = {} if wish.preset == "balanced" else {"preset": wish.preset}
        if wish.preset not in PRESETS:
            head = start.model_dump(mode="json", exclude_unset=True)
        arguments = [f"{key}={value!r}" for key, value in _merged(head, self._changes(wish, start)).items()]
        found, lines = self._found(wish)
        own = wish.relations is not None and _plain(wish.relations) != _plain(lines)
        none = own and not (wish.relations or "").strip()
        prompt = _marked(found.prompt, _plain(wish.relations or "")) if own and not none else wish.prompt
        unguided = ", guided=False" if none else ""
        return "\n".join(
            [
                "from spatialguide import SpatialGuide",
                "",
                f"guide = SpatialGuide({', '.join(arguments)})",
                f"result = guide({prompt!r}, seed={wish.seed}{unguided})",
                'result.save("out.png")',
            ]
        )

    def yaml(self, wish: Wish) -> str:
        """The wish's configuration as a file for --config."""
        start = self.preset(wish.preset)
        head = {"preset": wish.preset} if wish.preset in PRESETS else start.model_dump(mode="json", exclude_unset=True)
        text: str = yaml.safe_dump(_merged(head, self._changes(wish, start)), sort_keys=False)
        return text

    @cached_property
    def _reader(self) -> SpatialGuide:
        """A guide to parse with; it loads no model."""
        return SpatialGuide(self.base, registry=self.registry)

    def _guide(self, config: GuideConfig) -> SpatialGuide:
        """A guide of this configuration, with the model that is loaded already if there is one."""
        loaded, wanted = self._loaded, (config.backend, config.backend_options)
        if loaded is None or (loaded.config.backend, loaded.config.backend_options) != wanted:
            self._loaded = None  # two models seldom fit beside each other
            loaded = SpatialGuide(config, registry=self.registry)
            loaded.pipeline  # noqa: B018 - loads it once, for all guides that come from this one
            self._loaded = loaded
        return loaded.with_config(config)

    def _changes(self, wish: Wish, start: GuideConfig) -> dict[str, Any]:
        """What a wish asks for beyond what it starts from, as keyword arguments."""
        changes: dict[str, Any] = {}
        # The page's own model comes with the options that the page was started with, whatever the preset.
        base = self.base or start
        options = base.backend_options if wish.backend == base.backend else {}
        if (wish.backend, options) != (start.backend, start.backend_options):
            changes |= {"backend": wish.backend, "backend_options": dict(options)}
        if wish.steps and wish.steps != start.steps:
            changes["steps"] = wish.steps
        if wish.side and wish.side != start.width:
            changes |= {"width": wish.side, "height": wish.side}
        if wish.strength is not None and wish.strength != start.guidance.strength:
            changes["guidance"] = {"strength": wish.strength}
        if wish.terms is not None and set(wish.terms) != set(start.losses):
            kept = {name: start.losses[name].model_dump() for name in wish.terms if name in start.losses}
            changes["losses"] = {name: kept.get(name, {"weight": 1.0}) for name in wish.terms}
        return changes

    def _checked(self, prompt: str) -> str:
        if len(prompt) > self.limits.prompt:
            raise PromptError(
                f"the prompt has {len(prompt)} characters, over this page's limit of {self.limits.prompt}: say less"
            )
        return prompt


def _notes(scene: Scene, guide: SpatialGuide) -> Iterator[str]:
    if not scene.relations:
        yield "no relation was found, so there is nothing to guide: both images are the same"
    elif not guide.config.guidance.strength or not guide.losses:
        yield "strength 0 or no loss terms: guidance is off, and both images are the same"
    yield from (f"not guided: {line}" for line in scene.ignored)
    unknown = guide.unknown_objects([scene])
    if unknown:
        yield f"the {guide.config.backend} model has never seen: {', '.join(unknown)}"


def relation_lines(scene: Scene) -> str:
    """The scene's relations as people write them, one a line."""
    return "\n".join(scene.sentence(edge) for edge in scene.relations)


def _plain(lines: str) -> list[str]:
    return [" ".join(line.split()) for line in lines.splitlines() if line.strip()]


def _marked(prompt: str, relations: Sequence[str]) -> str:
    """A prompt with relations as marks."""
    return f"{prompt} {{{{{'; '.join(relations)}}}}}"


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    guidance = {**base.get("guidance", {}), **changes.get("guidance", {})}
    return {**base, **changes, **({"guidance": guidance} if guidance else {})}


# --- the page --------------------------------------------------------------------------------------------------------


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
        was_read = gr.State(("", ""))
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
            with gr.Column(scale=2):
                with gr.Row():
                    preset = gr.Dropdown(studio.presets, value=studio.presets[0], label="Preset", elem_id="preset")
                    backend = gr.Dropdown(studio.backends, value=start.backend, label="Model", elem_id="backend")
                terms = gr.Dropdown(
                    names("losses"), value=list(start.losses), multiselect=True, label="Loss terms", elem_id="terms"
                )
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
                        info="0: the preset's or the model's usual", elem_id="steps",
                    )  # fmt: skip
                    side = gr.Number(
                        start.width or 0, precision=0, minimum=0, maximum=studio.limits.side, step=8, label="Side in pixels",
                        info="0: the preset's or the model's usual", elem_id="side",
                    )  # fmt: skip
                    seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="seed")
                go = gr.Button("Draw", variant="primary", elem_id="draw")
        status = gr.HTML(_message(""), elem_id="status")
        with gr.Row():
            unguided, guided = (gr.HTML(_empty(name), elem_id=name) for name in ("unguided", "guided"))
        step = gr.Slider(1, 2, value=1, step=1, label="Attention at step", interactive=True, visible=False, elem_id="step")
        with gr.Row():
            unguided_maps, guided_maps = (gr.HTML(elem_id=f"{name}-maps") for name in ("unguided", "guided"))
        with gr.Accordion("All steps, curves, code and configuration", open=False):
            sheet = gr.HTML(elem_id="sheet")
            curves = gr.HTML(elem_id="curves")
            with gr.Row():
                code = gr.Code(language="python", label="Python", interactive=False, elem_id="code")
                config = gr.Code(language="yaml", label="Configuration for --config", interactive=False, elem_id="config")

        def read(text: str) -> tuple[str, str, tuple[str, str]]:
            if not text.strip():
                return _message("Nothing typed yet."), "", (text, "")
            try:
                scene, lines = studio.read(text)
            except SpatialGuideError as error:
                return _message(str(error), fault=True), "", (text, "")
            return _scene(scene), lines, (text, lines)

        def choose(name: str) -> tuple[list[str], float, int, int]:
            chosen = studio.preset(name)
            return list(chosen.losses), chosen.guidance.strength, chosen.steps or 0, chosen.width or 0

        def draw(*values: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008 - Gradio's way of asking for it
            text, lines, (known, said), name, model, chosen, power, count, pixels, number = values
            # Relations are the visitor's own only where they differ from what this very prompt was read as.
            own = lines if known == text and _plain(lines) != _plain(said) else None
            # A number field that was emptied holds None.
            wish = Wish(text, own, name, model, tuple(chosen), power, int(count or 0), int(pixels or 0), int(number or 0))
            try:
                drawing = studio.draw(wish, lambda what, done, total: progress((done, total), desc=what))
            except SpatialGuideError as error:
                return [_message(str(error), fault=True), *[gr.skip()] * 10]
            except Exception as error:  # out of memory, a side that the model cannot draw: the page stays up
                logging.getLogger(__name__).exception("drawing failed")
                return [_message(f"This could not be drawn: {type(error).__name__}: {error}", fault=True), *[gr.skip()] * 10]
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

        def maps(drawing: Drawing | None, at: float) -> tuple[str, str]:
            if drawing is None or not drawing.steps:
                return "", ""
            at = min(int(at), drawing.steps)
            return _maps(drawing.unguided, at, "unguided"), _maps(drawing.guided, at, "guided")

        # What is answered at once does not wait behind drawings, nor count among them.
        light: dict[str, Any] = {"show_progress": "hidden", "queue": False}
        prompt.change(read, [prompt], [understood, relations, was_read], trigger_mode="always_last", **light)
        preset.input(choose, [preset], [terms, strength, steps, side], **light)
        gr.on(
            [go.click, prompt.submit],
            draw,
            [prompt, relations, was_read, preset, backend, terms, strength, steps, side, seed],
            [status, unguided, guided, drawn, step, unguided_maps, guided_maps, sheet, curves, code, config],
            concurrency_limit=1,
            show_progress_on=[status],
        )
        step.change(maps, [drawn, step], [unguided_maps, guided_maps], trigger_mode="always_last", **light)
        page.load(None, js=_LIVE)
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
_LIVE = """() => { for (const id of ["status", "understood"])
    document.getElementById(id)?.setAttribute("aria-live", "polite") }"""

_CSS = """
figure.drawn { margin: 0; text-align: center }
figure.drawn img { width: 100%; max-width: 420px; border-radius: 8px; margin: 0 auto; display: block }
figure.sheet { margin: 0 0 1em }
figure.sheet img { width: 100% }
figure.drawn figcaption { font-size: 0.95rem; margin-top: 4px }
.scene svg { width: 100%; height: auto; max-height: 220px; color: inherit }
p.fault { color: #b00020; font-weight: 600 }
.dark p.fault { color: #ff8a80 }
span[data-testid="block-info"] + div, .dim, .info { color: #555 !important }
.dark .info { color: #bbb !important }
.empty { border: 1px dashed #9993; border-radius: 8px; padding: 4em 1em; text-align: center }
"""


def _message(text: str, fault: bool = False) -> str:
    """A line of the page's answers."""
    return f'<p class="{"fault" if fault else "said"}">{html.escape(text)}</p>'


def _scene(scene: Scene) -> str:
    from spatialguide.diagram import scene_svg

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
    from spatialguide.pictures import attention_frame

    # Made when they are asked for: all frames of all visitors would not fit.
    frame = attention_frame(result.images[0], result.trace, result.scene, step)
    return _figure(frame, f"{name}, attention at step {step}", result.scene.describe())


def _sheet(drawing: Drawing) -> str:
    """The guided image's attention at every step, with links to save it and its animation."""
    from spatialguide.pictures import gif_bytes

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
    from spatialguide.pictures import figure_bytes

    if not drawing.steps:
        return ""
    try:
        figure = drawing.guided.figure()
    except SpatialGuideError as error:
        return _message(str(error))
    source = _data("image/png", figure_bytes(figure, dpi=110))
    return f'<img src="{source}" alt="loss terms, correction and centroids over the steps" style="width:100%">'
