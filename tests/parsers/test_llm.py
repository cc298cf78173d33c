"""The parser `llm`, against an endpoint on loopback and a small random model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError, ParserWarning
from spatialguide_plugins.tiny.backend import WEIGHTS

PROMPT = "a red cat to the left of two dogs"
CAT, DOGS = {"id": "a", "text": "cat", "attributes": ["red"], "count": 1}, {"id": "b", "text": "dog", "count": 2}
LEFT = {"subject": "a", "predicate": "left_of", "grounds": ["b"]}


class Endpoint:
    """Answers with a status and a text, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.text = 200, ""
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append((self.path, dict(self.headers), body))
                self.send_response(endpoint.status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()
                self.wfile.write(json.dumps({"choices": [{"message": {"content": endpoint.text}}]}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def says(self, *relations: Any, objects: Any = (CAT, DOGS)) -> None:
        self.text = json.dumps({"objects": list(objects), "relations": list(relations)})


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Endpoint()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def guide_of(endpoint: Endpoint) -> SpatialGuide:
    return SpatialGuide(parser="llm", parser_options={"url": endpoint.url, "model": "some"})


def test_the_scene_is_what_the_model_says(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPATIALGUIDE_LLM_KEY", "secret")
    endpoint.says(LEFT)
    scene = guide_of(endpoint).parse(PROMPT)
    assert scene.describe() == "objects: red cat, dog; relations: red cat left_of dog"
    assert [PROMPT[item.span.start : item.span.end] for item in scene.objects] == ["cat", "dogs"]
    assert scene.relations[0].confidence is None
    ((path, headers, body),) = endpoint.asked
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", "Bearer secret")
    assert body["messages"][-1]["content"] == PROMPT
    predicates = body["response_format"]["json_schema"]["schema"]["properties"]["relations"]["items"]["properties"]["predicate"]
    assert {"left_of", "between", "in_region:top"} <= set(predicates["enum"])


def test_words_around_the_answer_and_places_without_grounds(endpoint: Endpoint) -> None:
    endpoint.says({"subject": "a", "predicate": "in_region:top_left", "grounds": []})
    endpoint.text = f"Sure!\n```json\n{endpoint.text}\n```"
    assert guide_of(endpoint).parse(PROMPT).describe().endswith("relations: red cat in_region top_left")


@pytest.mark.parametrize(
    ("relations", "objects", "fault"),
    [
        ([{**LEFT, "predicate": "leftish"}], (CAT, DOGS), "no relation plugin is 'leftish'"),
        ([{**LEFT, "predicate": "between"}], (CAT, DOGS), "'between' with 1 grounds"),
        ([{**LEFT, "grounds": ["a"]}], (CAT, DOGS), "to itself"),
        ([{**LEFT, "grounds": ["c"]}], (CAT, DOGS), "'c' does not occur"),
        ([LEFT], (CAT, {**DOGS, "text": "cow"}), "'cow' does not occur"),
        ([LEFT], (CAT, {**DOGS, "count": -2}), "count"),
        ([LEFT], "cat", "objects"),
        (["cat left_of dog"], (CAT, DOGS), "no object with objects and relations"),
    ],
)
def test_a_wrong_answer_is_not_used(endpoint: Endpoint, relations: Any, objects: Any, fault: str) -> None:
    endpoint.text = json.dumps({"objects": objects, "relations": relations})
    with pytest.warns(ParserWarning, match=fault):
        scene = guide_of(endpoint).parse(PROMPT)
    assert scene.describe() == "objects: red cat, dog; relations: red cat left_of dog"


@pytest.mark.parametrize(
    ("status", "text", "fault"),
    [(500, "", "500"), (302, "", "302"), (200, "I cannot.", "not used"), (200, "{" * 99, "not used")],
)
def test_a_failing_endpoint_is_a_warning(endpoint: Endpoint, status: int, text: str, fault: str) -> None:
    endpoint.status, endpoint.text = status, text
    with pytest.warns(ParserWarning, match=fault):
        assert guide_of(endpoint).parse(PROMPT).relations


def test_no_endpoint_at_all_is_a_warning() -> None:
    guide = SpatialGuide(parser="llm", parser_options={"url": "http://127.0.0.1:9/v1", "model": "some", "timeout": 1.0})
    with pytest.warns(ParserWarning, match="the default parser's is"):
        assert guide.parse(PROMPT).relations


@pytest.mark.parametrize(
    ("options", "fault"),
    [({}, "needs parser_options: {model: NAME}"), ({"url": "file:///etc/passwd", "model": "x"}, "must begin with http")],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        SpatialGuide(parser="llm", parser_options=options).parse(PROMPT)


@pytest.mark.parametrize("template", [None, "{% for m in messages %}{{ m['content'] }}{% endfor %}"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_local_model_that_talks_nonsense_is_not_used(tmp_path: Path, template: str | None) -> None:
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "pipeline" / "tokenizer")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    size = {"n_positions": 2048, "n_embd": 8, "n_layer": 1, "n_head": 1}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1, **size)).save_pretrained(tmp_path)
    guide = SpatialGuide(parser="llm", parser_options={"model": str(tmp_path), "max_tokens": 5})
    with pytest.warns(ParserWarning, match="Expecting value"):
        assert guide.parse(PROMPT).relations


def test_a_model_that_is_not_here_is_not_downloaded() -> None:
    guide = SpatialGuide(parser="llm", parser_options={"model": "some/one-that-is-not-here"})
    with pytest.warns(ParserWarning, match="LocalEntryNotFoundError"):
        assert guide.parse(PROMPT).relations
