"""The web page: what it does, and the page itself in a headless Chromium."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from conftest import heed_interrupts
from PIL import Image

from spatialguide import LossTerm, SpatialGuide, hookimpl
from spatialguide.config import load_config, make_config
from spatialguide.errors import PromptError, SpatialGuideError
from spatialguide.registry import Registry
from spatialguide.web.server import serve
from spatialguide.web.studio import Limits, Reading, StoppedError, Studio, Wish
from spatialguide.web.wish import relation_lines

PROMPT = "a cat to the left of a dog"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


def in_browser(test: Any) -> Any:
    return pytest.mark.slow(pytest.mark.browser(test))


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(make_config(steps=3), "short", Limits(steps=10, side=96, prompt=300))


# --- what it does --------------------------------------------------------------------------------------------------


def test_a_prompt_is_read_into_relations_that_can_be_edited(studio: Studio) -> None:
    scene, lines = studio.read("a cat to the left of a dog, above a red car")
    assert lines.splitlines() == ["cat left_of dog", "cat above red car"]
    prompt = scene.prompt
    assert studio.scene(Wish(prompt, lines)) == scene
    assert studio.scene(Wish(prompt, "dog left_of cat")).describe() == (
        "objects: dog, cat, red car; relations: dog left_of cat"
    )
    assert studio.scene(Wish(prompt, " \n")).relations == ()
    with pytest.raises(PromptError, match="no relation"):
        studio.scene(Wish(prompt, "cat somewhere dog"))


def test_both_images_come_from_one_seed(studio: Studio) -> None:
    said: list[tuple[str, int, int]] = []
    drawing = studio.draw(Wish(PROMPT, preset="short", seed=4), lambda *what: said.append(what))
    assert drawing.steps == 3
    guide = SpatialGuide(steps=3)
    assert drawing.guided.metadata[0]["seed"] == 4
    assert drawing.guided.metadata[0]["guided"]
    assert drawing.unguided.images[0].tobytes() == guide(PROMPT, seed=4, guided=False, watch=True).images[0].tobytes()
    assert ("drawing guided", 3, 3) in said


@pytest.mark.parametrize(
    "wish",
    [
        Wish(PROMPT, steps=5),
        Wish(PROMPT, "dog above cat", preset="short", strength=1.5, seed=7),
        Wish(PROMPT, preset="paper", steps=10, terms=("alignment", "storm"), side=80),
        Wish("{{masterpiece}}, a cat to the left of a dog", "dog left_of cat", preset="short"),
        Wish("a cat {{cat left_of dog}} and a dog", "dog above cat", preset="short"),
        Wish("a cat left of a dog, the dog left of the cat", "cat above dog", preset="short"),
        Wish("a cat to the left of a dog, above a large, red car", "cat left_of dog\ncat below large red car", preset="short"),
        Wish("a cat to the left of another cat", "cat (2) above cat (1)", preset="short"),
    ],
    ids=["steps", "relations", "terms", "braces that are no marks", "marks", "a contradiction, beaten", "attributes", "two"],
)
def test_the_code_and_the_configuration_say_what_was_asked(studio: Studio, wish: Wish, tmp_path: Any) -> None:
    config = studio.config(wish)
    path = tmp_path / "guide.yaml"
    path.write_text(studio.yaml(wish))
    assert load_config(path).model_dump(mode="json") == config.model_dump(mode="json")
    made: dict[str, Any] = {}
    calls: list[tuple[str, int]] = []

    class Recorder(SpatialGuide):
        def __call__(self, prompt: Any, *, seed: int = 0, **options: Any) -> Any:
            calls.append((options.get("scene") or self.parse(prompt), seed))
            made["config"] = self.config
            raise StopIteration

    lines = studio.code(wish).splitlines()
    with pytest.raises(StopIteration):
        exec("\n".join(lines[1:]), {"SpatialGuide": Recorder})
    assert made["config"].model_dump(mode="json") == config.model_dump(mode="json")
    ((drawn, seed),) = calls
    asked = studio.scene(wish)
    assert (drawn.describe(), drawn.prompt, seed) == (asked.describe(), asked.prompt, wish.seed)
    assert sorted((o.span, o.text, o.count) for o in drawn.objects) == sorted((o.span, o.text, o.count) for o in asked.objects)


@pytest.mark.parametrize("line", ["knife above red car", "Knives above CAR", "two knives above a red car"])
def test_edited_relations_keep_the_objects_that_were_read(studio: Studio, line: str) -> None:
    prompt = "two knives to the left of a red car, and a dog"
    found, lines = studio.read(prompt)
    assert lines == "knife left_of red car"
    edited = studio.scene(Wish(prompt, line))
    assert edited.objects == found.objects
    assert [(item.text, item.attributes, item.count) for item in edited.objects] == [
        ("knife", (), 2),
        ("car", ("red",), 1),
        ("dog", (), 1),
    ]
    assert relation_lines(edited) == "knife above red car"


def test_edited_relations_may_name_what_was_not_read_and_places(studio: Studio) -> None:
    prompt = "a photo of a cat to the left of a toy top"
    edited = studio.scene(Wish(prompt, "cat in_region top\nphoto above cat"))
    assert relation_lines(edited).splitlines() == ["cat in_region top", "photo above cat"]
    with pytest.raises(PromptError, match="in the relations: 'cow' does not occur"):
        studio.scene(Wish(prompt, "cow above cat"))


@pytest.mark.parametrize(
    ("prompt", "relations"),
    [
        (PROMPT, "dog above cat"),
        ("two cats to the left of a red car, and a bird", "red car left_of cat\nbird above cat"),
        ("a cat to the left of another cat", "cat (2) above cat (1)"),
    ],
    ids=["marks", "a count and an attribute", "two of one name"],
)
def test_the_code_draws_the_same_image(studio: Studio, prompt: str, relations: str) -> None:
    drawing = studio.draw(Wish(prompt, relations, preset="short", seed=3))
    names: dict[str, Any] = {}
    exec(drawing.code.replace('result.save("out.png")', ""), names)
    assert names["result"].images[0].tobytes() == drawing.guided.images[0].tobytes()


def test_own_relations_stay_while_they_fit_the_prompt(studio: Studio) -> None:
    first = studio.follow(PROMPT, "", Reading())
    assert (first.shown, first.own) == ("cat left_of dog", None)
    mine = studio.follow(PROMPT, "cat above dog", first)
    assert mine.scene is not None
    assert relation_lines(mine.scene) == "cat above dog"

    longer = studio.follow("a black cat to the left of a dog", "cat above dog", mine)
    assert (longer.shown, longer.own, longer.said) == ("cat above dog", "cat above dog", "black cat left_of dog")
    assert longer.scene is not None
    assert longer.scene.describe() == "objects: black cat, dog; relations: black cat above dog"

    # On the way to another word, and to another prompt, they are set aside and said to be.
    other = studio.follow("a horse to the left of a dog", longer.shown, longer)
    assert (other.shown, other.own) == ("horse left_of dog", "cat above dog")
    assert "'cat' does not occur" in other.aside
    assert studio.follow(PROMPT, other.shown, other).shown == "cat above dog"
    assert studio.follow("", other.shown, other) == Reading()


def test_own_relations_that_are_wrong_are_not_overwritten(studio: Studio) -> None:
    wrong = studio.follow(PROMPT, "cat nowhere dog", studio.follow(PROMPT, "", Reading()))
    assert (wrong.shown, wrong.scene) == ("cat nowhere dog", None)
    assert "is no relation" in wrong.fault
    assert studio.follow(PROMPT, "cat left_of dog", wrong).own is None


def test_emptied_relations_are_filled_again_by_the_next_prompt(studio: Studio) -> None:
    emptied = studio.follow(PROMPT, " ", studio.follow(PROMPT, "", Reading()))
    assert emptied.scene is not None
    assert emptied.scene.relations == ()
    assert studio.follow("a dog above a cat", emptied.shown, emptied).shown == "dog above cat"


def test_own_relations_beat_a_prompt_that_contradicts_itself(studio: Studio) -> None:
    prompt = "a cat left of a dog, and the dog left of the cat"
    read = studio.follow(prompt, "", Reading())
    assert (read.scene, read.shown) == (None, "")
    assert "cannot hold" in read.fault
    beaten = studio.follow(prompt, "cat above dog", read)
    assert (beaten.fault, beaten.shown) == ("", "cat above dog")


@pytest.mark.slow
def test_a_stopped_drawing_ends_at_its_next_step_and_the_next_one_is_as_ever(studio: Studio) -> None:
    wish = Wish(PROMPT, preset="short", seed=4)
    whole = studio.draw(wish)
    for guided in (False, True):
        said: list[tuple[str, int]] = []
        last = ("drawing guided" if guided else "drawing unguided", 2)
        with pytest.raises(StoppedError, match="stopped"):
            studio.draw(wish, lambda what, done, total: said.append((what, done)), lambda: last in said)  # noqa: B023
        assert said[-1] == last
    assert studio.draw(wish).guided.images[0].tobytes() == whole.guided.images[0].tobytes()


@pytest.mark.parametrize("begun", ["loading the model", "drawing unguided"], ids=["unguided", "guided"])
def test_a_drawing_stops_within_a_step_too(studio: Studio, begun: str) -> None:
    wish = Wish(PROMPT, preset="short", seed=4)
    whole = studio.draw(wish)
    said: list[tuple[str, int, int]] = []
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += said[-1][0] == begun and said[-1][1] == said[-1][2]
        return asked > 100

    with pytest.raises(StoppedError, match="stopped"):
        studio.draw(wish, lambda *what: said.append(what), stopped)
    assert (said[-1][0], asked) == (begun, 101)
    assert studio.draw(wish).guided.images[0].tobytes() == whole.guided.images[0].tobytes()


def test_the_largest_side_follows_the_model() -> None:
    usual = SpatialGuide().backend.generation.width
    assert usual is not None
    assert Studio().config(Wish(PROMPT, side=usual * 3 // 2)).width == usual * 3 // 2
    with pytest.raises(SpatialGuideError, match=rf"pixels are over this page's limit of {usual * 3 // 2} for this model"):
        Studio().config(Wish(PROMPT, side=usual * 2))
    mine = Studio(make_config(backend="sdxl"), "mine")
    assert mine.config(Wish(PROMPT, side=1536, preset="mine", backend="sdxl")).width == 1536
    with pytest.raises(SpatialGuideError, match="limit of 256"):
        Studio(limits=Limits(side=256)).config(Wish(PROMPT, side=512))


def test_a_drawing_that_takes_too_long_is_ended() -> None:
    said: list[str] = []
    with pytest.raises(StoppedError, match="over 0 seconds, this page's limit: ask for fewer steps"):
        Studio(limits=Limits(seconds=0)).draw(Wish(PROMPT, steps=3), lambda what, done, total: said.append(what))
    assert said == ["loading the model"]


def test_another_preset_keeps_the_models_own_options() -> None:
    night = Studio(make_config(backend_options={"backdrop": "navy"}), "night")
    mine = Studio(make_config(backend="sd15", backend_options={"model": "folder"}), "mine")
    for preset in ("night", "strong"):
        assert night.config(Wish(PROMPT, preset=preset)).backend_options == {"backdrop": "navy"}
    for preset in ("mine", "strong"):
        assert mine.config(Wish(PROMPT, preset=preset, backend="sd15")).backend_options == {"model": "folder"}
        assert mine.config(Wish(PROMPT, preset=preset)).backend_options == {}


def test_it_says_when_guidance_is_off(studio: Studio) -> None:
    assert "guidance is off" in studio.draw(Wish(PROMPT, preset="short", strength=0)).notes[0]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(""), "empty"),
        (Wish("a cat " * 100), "limit of 300"),
        (Wish(PROMPT, steps=11), "limit of 10"),
        (Wish(PROMPT, side=128, steps=5), "limit of 96"),
        (Wish(PROMPT, side=63), "multiple of 8"),
        (Wish(PROMPT, preset="fine"), "no preset is called 'fine'"),
        (Wish(PROMPT, backend="none"), "none"),
        (Wish(PROMPT, strength=-1.0), "greater than or equal to 0"),
        (Wish("a cat left of a dog, and the dog left of the cat"), "left"),
    ],
)
def test_bad_wishes_are_refused_in_plain_words(studio: Studio, wish: Wish, message: str) -> None:
    with pytest.raises(SpatialGuideError, match=message):
        studio.draw(wish)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_cannot_be_guided_or_drawn_is_said(studio: Studio) -> None:
    assert studio.draw(Wish(PROMPT, preset="short", steps=1)).notes == ()
    drawing = studio.draw(Wish("a cat and a spaceship", preset="short", steps=1))
    assert drawing.steps == 1
    assert drawing.unguided.images[0].tobytes() == drawing.guided.images[0].tobytes()
    assert ["no relation" in note or "spaceship" in note for note in drawing.notes] == [True, True]
    assert studio.draw(Wish("beautiful", preset="short", steps=1)).steps == 0


def test_a_term_that_needs_no_relation_guides_without_one(studio: Studio) -> None:
    drawing = studio.draw(Wish("a cat and a dog", preset="short", terms=("presence_first",)))
    assert drawing.notes == ()
    assert drawing.unguided.images[0].tobytes() != drawing.guided.images[0].tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_term_whose_guidance_vanishes_is_named() -> None:
    class Nan(LossTerm):
        def __call__(self, statistics: Any, scene: Any) -> Any:
            return statistics.mass.sum(dim=(1, 2)) * float("nan")

    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Callable[[str, type[LossTerm]], None]) -> None:
            register("nan", Nan)

    registry = Registry()
    registry.add(Plugin(), "bad-dist")
    drawing = Studio(make_config(steps=2), "short", registry=registry).draw(Wish(PROMPT, preset="short", terms=("nan",)))
    (note,) = drawing.notes
    assert "guided steps were skipped: the value of loss 'nan' of distribution 'bad-dist' was not finite" in note


# --- the page ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served by the command in a process of its own."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("web")
    (folder / "short.yaml").write_text("steps: 3\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "spatialguide", "serve", "--port", str(port), "--config", "short.yaml"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=folder, preexec_fn=heed_interrupts, **pipes) as server:
        try:
            assert server.stdout is not None
            assert "running" in server.stdout.readline().lower()
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()  # else leaving the block would wait without end
                raise


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(address: str) -> None:
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "spatialguide", "serve", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "choose another --port" in done.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all tests; each opens pages of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(address: str, browser: Any) -> Iterator[Any]:
    """A page whose console must stay clean, in a browser that reaches nothing but this machine."""
    found = browser.new_page(viewport={"width": 1280, "height": 1000})
    faults: list[str] = []
    outside: list[str] = []
    found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("request", lambda request: outside.append(request.url) if _leaves(request.url, address) else None)
    found.goto(address)
    found.wait_for_selector("#more button", timeout=60_000)
    yield found
    found.close()
    assert faults == []
    assert outside == []


def _leaves(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


@in_browser
def test_type_generate_and_see_both_images(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    assert page.input_value("#relations textarea") == "cat left_of dog"
    page.click("#draw")
    for name in ("unguided", "guided"):
        picture = page.wait_for_selector(f"#{name} img", timeout=120_000)
        assert picture.get_attribute("alt") == f"{name}: {PROMPT}"
        assert picture.evaluate("image => image.naturalWidth") == 384
        assert page.inner_text(f"#{name} figcaption").startswith(f"{name}, seed 0: {PROMPT}")
    link = page.get_attribute("#guided a[download]", "href")
    with Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))) as saved:
        assert json.loads(saved.info["spatialguide"])["prompt"] == PROMPT
    # The attention follows the slider.
    page.wait_for_selector("#guided-maps img[alt*='step 3']")
    page.fill("#step input[type=number]", "1")
    page.press("#step input[type=number]", "Tab")
    page.wait_for_selector("#guided-maps img[alt*='step 1']")
    page.wait_for_selector("#unguided-maps img[alt*='step 1']")
    page.click("text=All steps, curves, code and configuration")
    page.wait_for_selector("#curves img")
    sheet, animation = (link.get_attribute("href") for link in page.query_selector_all("#sheet a[download]"))
    for link, form in ((sheet, "PNG"), (animation, "GIF")):
        with Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))) as saved:
            assert saved.format == form
    assert saved.n_frames == 3
    assert "SpatialGuide(" in page.inner_text("#code")


_CONTROLS = {"button", "checkbox", "combobox", "link", "listbox", "radio", "slider", "spinbutton", "switch", "textbox"}


def _controls(page: Any) -> list[tuple[str, str]]:
    """Role and name of every control, as the browser tells them to a screen reader."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node.get("name", {}).get("value", "").strip()) for node in nodes if not node["ignored"]]
    return [(role, name) for role, name in found if role in _CONTROLS]


def _pictures(page: Any) -> list[str]:
    """The text of every picture."""
    texts = "all => all.filter(e => e.checkVisibility()).map(e => (e.alt ?? e.ariaLabel ?? '').trim())"
    return list(page.eval_on_selector_all("img, [role=img]:not([aria-hidden=true])", texts))


@in_browser
def test_every_control_has_a_name_and_every_picture_a_text(page: Any) -> None:
    fresh = _controls(page)
    assert {("button", "Draw"), ("button", "Stop"), ("combobox", "Preset"), ("spinbutton", "Seed")} <= set(fresh)
    assert [role for role, name in fresh if not name] == []
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    page.click("#draw")
    page.wait_for_selector("#guided-maps img", timeout=120_000)
    page.click("text=All steps, curves, code and configuration")
    page.wait_for_selector("#curves img")
    page.wait_for_selector("#config .cm-content[aria-label='Configuration']")
    drawn = _controls(page)
    assert [role for role, name in drawn if not name] == []
    assert {("textbox", "Python"), ("textbox", "Configuration")} <= set(drawn)
    assert {"slider", "link"} <= {role for role, _ in drawn}
    # Both images, their attention, the try, the sheet and the curves.
    texts = _pictures(page)
    assert len(texts) == len(set(texts)) == 7
    assert "" not in texts


def _tab_to(page: Any, wanted: str) -> list[str]:
    """Press Tab until the element is reached, and say which were passed on the way."""
    passed = []
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return passed
        passed.append(page.evaluate("document.activeElement.textContent.trim()"))
    raise AssertionError(f"Tab does not reach {wanted}: {passed}")


@in_browser
def test_keyboard_only(page: Any) -> None:
    _tab_to(page, "#prompt textarea")
    page.keyboard.type("a dog above a cat")
    page.wait_for_selector("#canvas .box")
    _tab_to(page, "#draw")
    page.keyboard.press("Enter")
    for name in ("unguided", "guided"):
        page.wait_for_selector(f"#{name} img[alt='{name}: a dog above a cat']", timeout=120_000)
    # On to the links that save the pictures, and the slider of the steps.
    passed = _tab_to(page, "#step input[type=range]")
    assert [text for text in passed if "save" in text] == ["save the unguided image", "save the guided image"]
    before = page.get_attribute("#guided-maps img", "alt")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("alt => document.querySelector('#guided-maps img').alt !== alt", arg=before)
    # And to what is folded away.
    _tab_to(page, "button.label-wrap")
    page.keyboard.press("Enter")
    page.wait_for_selector("#curves img")
    assert _tab_to(page, "#sheet a[download='maps.gif']") != []


def _unfold(page: Any, wanted: str) -> None:
    page.click(f"{wanted} button.label-wrap")


@in_browser
def test_one_drawing_at_a_time_and_what_is_old_is_dim(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    page.click("#draw")
    page.wait_for_selector("#guided img", timeout=120_000)
    page.wait_for_selector("#draw:enabled:has-text('Draw')")
    assert page.query_selector("#pictures.old") is None
    page.fill("#prompt textarea", "a dog above a cat")
    page.wait_for_selector("#pictures.old")
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#pictures:not(.old)")
    _unfold(page, "#advanced")
    page.fill("#steps input", "100")
    page.press("#prompt textarea", "Shift+Enter")
    page.wait_for_selector("#draw:disabled:has-text('Drawing ...')")
    page.wait_for_selector("#pictures.old")
    page.press("#prompt textarea", "Shift+Enter")
    page.wait_for_selector("text=Still drawing: wait for it, or press Stop.")
    page.click("#stop")
    page.wait_for_selector("#draw:enabled")
    # What cannot be drawn leaves nothing of before beside it.
    page.fill("#prompt textarea", "a cat left of a dog, and the dog left of the cat")
    page.click("#draw")
    page.wait_for_selector("#status .fault")
    page.wait_for_function("document.querySelector('#pictures figure') === null")
    page.wait_for_selector("#draw:enabled")


_LUMINANCE = """element => {
    const light = colour => {
        const parts = colour.match(/[\\d.]+/g).map(Number), [r, g, b] = parts.slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return [0.2126 * r + 0.7152 * g + 0.0722 * b, parts[3] ?? 1];
    };
    let behind = element, ground = [1, 0];
    while (behind && !ground[1]) { ground = light(getComputedStyle(behind).backgroundColor); behind = behind.parentElement }
    return [light(getComputedStyle(element).color)[0], ground[0]];
}"""


@in_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_can_be_read_in_light_and_dark_at_a_desk_and_on_a_telephone(page: Any, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{page.url}?__theme={theme}")
    page.fill("#prompt textarea", "a cat to the left of a dog, above a red car", timeout=60_000)
    page.wait_for_selector("#canvas .box")
    _unfold(page, "#advanced")
    texts = page.query_selector_all(
        "#understood p, #canvas .box, #canvas p, [data-testid=block-info] ~ *, #status p, #draw, #stop"
    )
    assert len(texts) > 12
    for element in texts:
        bright, dark = sorted(element.evaluate(_LUMINANCE), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, element.inner_html()
    # Nothing is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@in_browser
def test_a_drawing_can_be_stopped_by_the_keyboard_and_the_page_goes_on(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    _unfold(page, "#advanced")
    page.fill("#steps input", "100")
    page.focus("#draw")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#status').innerText.includes('/100')", timeout=120_000)
    _tab_to(page, "#stop")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#status').innerText.trim() === 'Stopped.'", timeout=120_000)
    assert page.query_selector("#unguided img") is None
    # The model is free at once: the next drawing does not wait for the hundred steps.
    page.fill("#steps input", "3")
    page.click("#draw")
    page.wait_for_selector("#guided-maps img[alt*='step 3']", timeout=120_000)
    page.click("#stop")
    page.wait_for_selector("#status p:has-text('Nothing is being drawn')")


class Endless(Studio):
    """Draws until it is stopped, or for a minute."""

    def draw(self, wish: Wish, say: Any = None, stopped: Any = None) -> Any:
        self.started.set()
        for _ in range(600):
            if stopped():
                self.ended.set()
                raise StoppedError("stopped")
            time.sleep(0.1)
        raise AssertionError("nobody stopped it")


@in_browser
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Gradio's own parts, in this process
@pytest.mark.parametrize("leaves", [False, True], ids=["stop", "the page is closed"])
def test_the_model_rests_when_nobody_waits_for_it(browser: Any, leaves: bool) -> None:
    pytest.importorskip("gradio")
    studio = Endless()
    studio.started, studio.ended = threading.Event(), threading.Event()
    served = serve(studio, port=0)
    try:
        visitor = browser.new_page()
        visitor.goto(served.local_url)
        visitor.fill("#prompt textarea", PROMPT, timeout=60_000)
        visitor.click("#draw")
        assert studio.started.wait(30)
        assert not studio.ended.is_set()
        if leaves:
            visitor.close()
        else:
            visitor.click("#stop")
        assert studio.ended.wait(30)
    finally:
        served.close()


@in_browser
def test_own_relations_outlive_another_prompt(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    page.fill("#relations textarea", "cat above dog")
    page.wait_for_selector("#understood p:has-text('These are your own relations')")
    page.fill("#prompt textarea", "a cat to the left of a dog on a beach")
    page.wait_for_selector("#understood p:has-text('beach')")
    assert page.input_value("#relations textarea") == "cat above dog"
    page.fill("#prompt textarea", "a horse to the left of a dog")
    page.wait_for_selector("#understood p:has-text('set aside')")
    assert page.input_value("#relations textarea") == "horse left_of dog"
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#understood p:has-text('These are your own relations')")
    assert page.input_value("#relations textarea") == "cat above dog"
    # What is typed is not written over: another line can be begun.
    page.press("#relations textarea", "Control+End")
    page.keyboard.type("\ndog in_region bottom", delay=30)
    page.wait_for_selector("#understood p:has-text('dog in_region bottom')")
    assert page.input_value("#relations textarea") == "cat above dog\ndog in_region bottom"
    page.click("#anew")
    page.wait_for_function("document.querySelector('#relations textarea').value === 'cat left_of dog'")


def _drag(page: Any, name: str, x: float, y: float) -> None:
    """An object's box to a place of the canvas, in image sides."""
    page.locator("#canvas .box", has_text=name).scroll_into_view_if_needed()
    box = page.locator("#canvas .box", has_text=name).bounding_box()
    ground = page.locator("#canvas .ground").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(ground["x"] + x * ground["width"], ground["y"] + y * ground["height"], steps=4)
    page.mouse.up()


def _relations_become(page: Any, lines: str) -> None:
    page.wait_for_function("lines => document.querySelector('#relations textarea').value === lines", arg=lines)


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_boxes_can_be_dragged_and_the_relations_follow(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    _drag(page, "cat", 0.95, 0.5)
    _relations_become(page, "cat right_of dog")
    # The layout follows what was said.
    page.wait_for_function(
        "() => { const [cat, dog] = [...document.querySelectorAll('#canvas .box')].map(b => parseFloat(b.style.left));"
        " return cat > dog }"
    )
    _drag(page, "cat", 0.25, 0.0)
    _relations_become(page, "cat above dog")
    page.click("#anew")
    _relations_become(page, "cat left_of dog")


@in_browser
def test_boxes_can_be_moved_by_the_keyboard(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    _tab_to(page, "#canvas .box[data-object='1']")
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    _relations_become(page, "cat right_of dog")
    # The focus stays with the object, wherever its box is drawn anew.
    page.wait_for_function("document.activeElement.matches('#canvas .box') && document.activeElement.innerText === 'dog'")


@in_browser
def test_a_try_brings_back_its_prompt_seed_and_settings(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    page.fill("#relations textarea", "dog above cat")
    page.wait_for_selector("#understood p:has-text('These are your own relations')")
    page.fill("#seed input", "7")
    _unfold(page, "#advanced")
    page.click("#method label:has-text('bias:')")
    page.click("#draw")
    page.wait_for_selector("#tries [data-try='1']", timeout=120_000)
    assert "method bias" in page.inner_text("#guided figcaption")
    page.wait_for_selector("#guided-maps img")
    page.wait_for_selector("#draw:enabled")
    page.fill("#prompt textarea", "a giraffe above a bus")
    page.wait_for_selector("#canvas .box:has-text('giraffe')")
    page.fill("#seed input", "8")
    page.click("#method label:has-text('gradient:')")
    page.click("#draw")
    page.wait_for_selector("#tries [data-try='2']", timeout=120_000)
    page.wait_for_selector("#draw:enabled")
    page.click("#tries [data-try='1']")
    page.wait_for_function("text => document.querySelector('#prompt textarea').value === text", arg=PROMPT)
    _relations_become(page, "dog above cat")
    page.wait_for_function("document.querySelector('#seed input').value === '7'")
    assert page.is_checked("#method label:has-text('bias:') input")
    page.wait_for_selector("#pictures.old")
    assert "These are your own relations" in page.inner_text("#understood")


@in_browser
def test_progress_says_how_long_it_still_takes(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    _unfold(page, "#advanced")
    page.fill("#steps input", "100")
    page.click("#draw")
    page.wait_for_function(
        "/drawing (un)?guided \\d+\\/100, about \\d+ (s|min) left/.test(document.querySelector('#status').innerText)",
        timeout=120_000,
    )
    page.click("#stop")
    page.wait_for_selector("#draw:enabled")


@in_browser
def test_models_say_whether_they_are_here_and_why_others_are_not(page: Any) -> None:
    assert page.input_value("#backend input") == "tiny: here"
    _unfold(page, "#models")
    page.wait_for_selector("#models tr.here:has-text('tiny')")
    page.wait_for_selector("#models table:has-text('--all-models') tr:has-text('sdxl')")


@in_browser
def test_bad_input_is_said_and_survived(page: Any) -> None:
    page.fill("#prompt textarea", "a cat left of a dog, and the dog left of the cat")
    page.wait_for_selector("#understood .fault")
    assert page.get_attribute("#understood", "aria-live") == page.get_attribute("#status", "aria-live") == "polite"
    page.click("#draw")
    page.wait_for_selector("#status .fault")
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#canvas .box")
    page.fill("#relations textarea", "cat nowhere dog")
    page.click("#draw")
    page.wait_for_function("document.querySelector('#status').innerText.includes('is no relation')")
    page.fill("#relations textarea", "dog left_of cat")
    page.click("#draw")
    page.wait_for_selector(f"#guided img[alt='guided: {PROMPT}']", timeout=120_000)


@in_browser
def test_markup_in_a_prompt_is_text(page: Any) -> None:
    page.fill("#prompt textarea", "<img src=x onerror=alert(1)> a cat left of a dog")
    page.wait_for_selector("#understood p")
    assert page.query_selector("#understood img") is None


@in_browser
def test_choosing_a_preset_fills_the_controls(page: Any) -> None:
    page.click("#preset input")
    page.click("#preset [role=option]:has-text('paper')")
    page.wait_for_function("document.querySelector('#strength input').value == '1000'")
    _unfold(page, "#advanced")
    assert page.input_value("#steps input") == "50"
    # Terms stand with a word of what they do.
    page.wait_for_selector("#terms label:has-text('alignment: ')")


def test_the_configuration_is_yaml(studio: Studio) -> None:
    assert yaml.safe_load(studio.yaml(Wish(PROMPT, steps=4))) == {"preset": "balanced", "steps": 4}
    assert re.search(r"SpatialGuide\(steps=4\)", studio.code(Wish(PROMPT, steps=4)))
