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
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from PIL import Image

from spatialguide import SpatialGuide
from spatialguide.config import load_config, make_config
from spatialguide.errors import PromptError, SpatialGuideError
from spatialguide.web import Limits, Studio, Wish

PROMPT = "a cat to the left of a dog"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(make_config(steps=3), "short", Limits(steps=10, side=96, prompt=300))


# --- what it does --------------------------------------------------------------------------------------------------


def test_a_prompt_is_read_into_relations_that_can_be_edited(studio: Studio) -> None:
    scene, lines = studio.read("a cat to the left of a dog, above a red car")
    assert lines.splitlines() == ["cat left_of dog", "cat above red car"]
    prompt = scene.prompt
    assert studio.scene(Wish(prompt, lines)) == scene
    assert studio.scene(Wish(prompt, "dog left_of cat")).describe() == "objects: dog, cat; relations: dog left_of cat"
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
    ],
    ids=["steps", "relations", "terms", "braces that are no marks", "marks", "a contradiction, beaten"],
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
            calls.append((self.parse(prompt).describe(), seed))
            made["config"] = self.config
            raise StopIteration

    lines = studio.code(wish).splitlines()
    with pytest.raises(StopIteration):
        exec("\n".join(lines[1:]), {"SpatialGuide": Recorder})
    assert made["config"].model_dump(mode="json") == config.model_dump(mode="json")
    assert calls == [(studio.scene(wish).describe(), wish.seed)]


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
    assert drawing.steps == 0
    assert drawing.unguided.images[0].tobytes() == drawing.guided.images[0].tobytes()
    assert ["no relation" in note or "spaceship" in note for note in drawing.notes] == [True, True]


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
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
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


def test_a_port_that_is_taken_is_named(address: str) -> None:
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "spatialguide", "serve", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "choose another --port" in done.stderr


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """A page whose console must stay clean, in a browser that reaches nothing but this machine."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        found = browser.new_page(viewport={"width": 1280, "height": 1000})
        faults: list[str] = []
        outside: list[str] = []
        found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        found.on("pageerror", lambda error: faults.append(str(error)))
        found.on("request", lambda request: outside.append(request.url) if _leaves(request.url, address) else None)
        found.goto(address)
        found.wait_for_selector("#prompt textarea", timeout=60_000)
        yield found
        browser.close()
        assert faults == []
        assert outside == []


def _leaves(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def test_type_generate_and_see_both_images(page: Any) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#understood svg")
    assert page.input_value("#relations textarea") == "cat left_of dog"
    page.click("#draw")
    for name in ("unguided", "guided"):
        picture = page.wait_for_selector(f"#{name} img", timeout=120_000)
        assert picture.get_attribute("alt") == f"{name}: {PROMPT}"
        assert picture.evaluate("image => image.naturalWidth") == 384
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


def test_every_control_has_a_name_and_every_picture_a_text(page: Any) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, textarea, select, button, img')]
            .filter(each => each.offsetParent !== null)
            .filter(each => !(each.labels?.length || each.closest('label') || each.ariaLabel || each.alt || each.title
                || each.getAttribute('aria-labelledby') || each.innerText?.trim()))
            .map(each => each.outerHTML)"""
    )
    assert nameless == []


def test_keyboard_only(page: Any) -> None:
    page.focus("#prompt textarea")
    page.keyboard.type("a dog above a cat")
    page.wait_for_selector("#understood svg")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.closest('[id]')?.id"))
        if reached[-1] == "draw":
            break
    assert reached[-1] == "draw"
    page.keyboard.press("Enter")
    page.wait_for_selector("#guided img[alt='guided: a dog above a cat']", timeout=120_000)
    # On to the links that save the pictures, and the slider of the steps.
    links = 0
    for _ in range(40):
        page.keyboard.press("Tab")
        links += page.evaluate("document.activeElement.matches('a[download]')")
        if page.evaluate("document.activeElement.matches('#step input[type=range]')"):
            break
    assert links == 2
    before = page.get_attribute("#guided-maps img", "alt")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("alt => document.querySelector('#guided-maps img').alt !== alt", arg=before)


def test_bad_input_is_said_and_survived(page: Any) -> None:
    page.fill("#prompt textarea", "a cat left of a dog, and the dog left of the cat")
    page.wait_for_selector("#understood .fault")
    assert page.get_attribute("#understood", "aria-live") == page.get_attribute("#status", "aria-live") == "polite"
    page.click("#draw")
    page.wait_for_selector("#status .fault")
    page.fill("#prompt textarea", PROMPT)
    page.wait_for_selector("#understood svg")
    page.fill("#relations textarea", "cat nowhere dog")
    page.click("#draw")
    page.wait_for_function("document.querySelector('#status').innerText.includes('is no relation')")
    page.fill("#relations textarea", "dog left_of cat")
    page.click("#draw")
    page.wait_for_selector(f"#guided img[alt='guided: {PROMPT}']", timeout=120_000)


def test_markup_in_a_prompt_is_text(page: Any) -> None:
    page.fill("#prompt textarea", "<img src=x onerror=alert(1)> a cat left of a dog")
    page.wait_for_selector("#understood p")
    assert page.query_selector("#understood img") is None


def test_choosing_a_preset_fills_the_controls(page: Any) -> None:
    page.click("#preset input")
    page.click("#preset [role=option]:has-text('paper')")
    page.wait_for_function("document.querySelector('#strength input').value == '1000'")
    assert page.input_value("#steps input") == "50"


def test_the_configuration_is_yaml(studio: Studio) -> None:
    assert yaml.safe_load(studio.yaml(Wish(PROMPT, steps=4))) == {"preset": "balanced", "steps": 4}
    assert re.search(r"SpatialGuide\(steps=4\)", studio.code(Wish(PROMPT, steps=4)))
