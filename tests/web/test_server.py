"""The page's doors: whom it answers, what it takes, and what it tells browsers."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from spatialguide.errors import ConfigError
from spatialguide.web.server import make_app, serve
from spatialguide.web.studio import Studio

pytest.importorskip("gradio")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Gradio's own parts
JOIN = "/gradio_api/queue/join"


def client(host: str = "127.0.0.1", names: tuple[str, ...] = ()) -> Any:
    from starlette.testclient import TestClient

    return TestClient(make_app(Studio(), host, names), base_url="http://127.0.0.1:7860")


@pytest.fixture(scope="module")
def local() -> Any:
    return client()


@pytest.fixture(scope="module")
def everywhere() -> Any:
    return client("0.0.0.0", ("pictures.example.org",))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "[::1", "localhost@evil"])
def test_a_forged_host_is_refused(local: Any, everywhere: Any, host: str) -> None:
    """As with a name that was bound anew to this machine's address."""
    for page in (local, everywhere):
        assert page.get("/", headers={"host": host}).status_code == 400
        assert page.post(JOIN, headers={"host": host, "origin": f"http://{host}"}, json={}).status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1:7860", "LOCALHOST", "[::1]:7860"])
def test_this_machine_is_known(local: Any, host: str) -> None:
    assert local.get("/", headers={"host": host, "origin": f"http://{host}"}).status_code == 200


def test_a_page_for_the_network_is_known_by_the_machines_name(everywhere: Any) -> None:
    assert everywhere.get("/", headers={"host": f"{socket.gethostname()}:7860"}).status_code == 200


def test_names_can_be_added(everywhere: Any, local: Any) -> None:
    for headers in (
        {"host": "pictures.example.org", "origin": "https://pictures.example.org"},
        {"host": "127.0.0.1:7860", "origin": "https://pictures.example.org"},  # a proxy that changes Host
    ):
        assert everywhere.get("/", headers=headers).status_code == 200
        assert local.get("/", headers=headers).status_code in (400, 403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8000", "http://127.0.0.1:7860.evil", ""])
def test_other_sites_can_neither_ask_nor_read(local: Any, everywhere: Any, origin: str) -> None:
    preflight = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for page in (local, everywhere):
        for answer in (
            page.options(JOIN, headers=preflight),
            page.post(JOIN, headers={"origin": origin}, json={}),
            page.post(JOIN, headers={"origin": origin, "content-type": "text/plain"}, content="{}"),
            page.get("/config", headers={"origin": origin}),
        ):
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    [
        "upload",
        "upload?upload_id=1",
        "upload_progress?upload_id=1",
        "file=/etc/passwd",
        "proxy=http://example.org",
        "vibe-code",
    ],
)
def test_gradios_other_doors_are_shut(local: Any, path: str) -> None:
    files = {"files": ("a.txt", b"a")}
    answer = local.post(f"/gradio_api/{path}", files=files) if path.startswith("upload?") else local.get(f"/gradio_api/{path}")
    assert answer.status_code == 404
    assert local.post("/gradio_api/upload", files=files).status_code == 404


def test_no_file_of_this_machine_is_taken_for_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio copies what an input names as a file, and looks where it lies in pages that it served itself alone."""
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    file = {"path": str(tmp_path / "secret.txt"), "meta": {"_type": "gradio.FileData"}}
    with client() as page:
        for event in page.get("/config").json()["dependencies"]:
            data = {"data": [file] * len(event["inputs"]), "fn_index": event["id"], "session_hash": "a"}
            for content in (json.dumps(data), json.dumps(data).replace("gradio.F", "\\u0067radio.F")):
                answer = page.post("/gradio_api/run/predict", content=content, headers={"content-type": "application/json"})
                assert answer.status_code == 400 or not event["inputs"]
        assert not list((tmp_path / "cache").rglob("secret*"))


def test_gradio_itself_would_refuse_it_too() -> None:
    assert make_app(Studio()).routes[-1].app.get_blocks().has_launched


@pytest.mark.parametrize("body", ["x", "[" * 100_000, '{"data": ["' + "x" * 1_000_000 + '"]}', b"\xff"])
def test_strange_bodies_are_refused(local: Any, body: Any) -> None:
    for path in (JOIN, "/gradio_api/run/predict", "/login"):
        assert local.post(path, content=body, headers={"content-type": "application/json"}).status_code == 400


def test_what_is_typed_is_answered(local: Any) -> None:
    events = {event["api_name"]: event["id"] for event in local.get("/config").json()["dependencies"]}
    data = {"data": ["a cat left of a dog"], "fn_index": events["read_anew"], "session_hash": "a"}
    assert "cat left_of dog" in local.post("/gradio_api/run/predict", json=data).text


@pytest.mark.parametrize("said", ["", "x", "0 0.5 0.5 1", "0 nan 0.5 1", "-1 1e999 0 1", "9" * 90, "<b> 1 2 3"])
def test_what_no_script_of_the_pages_says_changes_nothing(local: Any, said: str) -> None:
    events = {event["api_name"]: event for event in local.get("/config").json()["dependencies"]}
    for name in ("move", "bring_back"):
        data = {
            "data": [said] + [None] * (len(events[name]["inputs"]) - 1),
            "fn_index": events[name]["id"],
            "session_hash": "a",
        }
        assert local.post("/gradio_api/run/predict", json=data).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"host": "evil.example"}, {"origin": "http://evil.example"}])
def test_nothing_is_sniffed_or_framed(local: Any, headers: dict[str, str]) -> None:
    answer = local.get("/", headers=headers)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_it_is_served_until_it_is_closed_and_its_port_is_its_own() -> None:
    import urllib.request

    page = serve(Studio(), port=0)
    try:
        with urllib.request.urlopen(f"{page.local_url}config", timeout=60) as answer:
            assert answer.status == 200
        with pytest.raises(ConfigError, match="choose another --port"):
            serve(Studio(), port=int(page.local_url.rpartition(":")[2].strip("/")))
    finally:
        page.close()
