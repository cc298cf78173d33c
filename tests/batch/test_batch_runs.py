"""A run draws each request exactly once, whatever is done to it."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from spatialguide import LossTerm, SpatialGuide, hookimpl
from spatialguide.batch.ledger import StoredLedger
from spatialguide.batch.metrics import Metrics
from spatialguide.batch.painter import Painter
from spatialguide.batch.requests import Request, Unit, read_units
from spatialguide.batch.runs import Batch, run_batch
from spatialguide.batch.store import Store
from spatialguide.config import make_config
from spatialguide.errors import BatchError, UnknownPluginError
from spatialguide.pictures.png import png_bytes, read_metadata
from spatialguide.registry import Registry

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PROMPTS = ["a cat to the left of a dog", "a bus above a bird", "a cat", "a clock to the right of a cow", "a boat below a book"]


def request_file(folder: Path, lines: list[dict[str, Any]]) -> str:
    path = folder / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    source = request_file(tmp_path, [{"prompt": prompt, "seed": number} for number, prompt in enumerate(PROMPTS)])
    return Batch(source, str(tmp_path / "out"), make_config(steps=2, width=64, height=64), batch=2, unit=2)


def worker_settings(batch: Batch, out: str, ledger: Any) -> tuple[Any, ...]:
    """Of one of Ray's workers, as the engine gives them."""
    config = batch.config.model_dump_json(exclude_unset=True)
    return config, batch.batch, out, "images", None, ledger, 1, batch.installed


def rows(batch: Batch) -> list[dict[str, Any]]:
    return list(Store(batch.out, batch.layout).rows())


def files(batch: Batch) -> dict[str, bytes]:
    """Everything but times: images and shards by name."""
    root = Path(batch.out)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.suffix in (".png", ".tar")}


@pytest.mark.slow
def test_every_request_has_one_row_and_one_image_that_can_be_replayed(batch: Batch) -> None:
    report = run_batch(batch)
    assert (report["done"], report["failed"], report["skipped"]) == (5, 0, 0)
    found = rows(batch)
    assert [row["index"] for row in found] == [0, 1, 2, 3, 4]
    assert [row["prompt"] for row in found] == PROMPTS
    assert [row["guided_steps"] > 0 for row in found] == [True, True, False, True, True]
    assert len(files(batch)) == 5
    for row in found:
        metadata = read_metadata(Path(batch.out) / row["file"])
        assert (metadata["prompt"], metadata["seed"]) == (row["prompt"], row["index"])
    assert json.loads((Path(batch.out) / "report.json").read_text())["done"] == 5


@pytest.mark.slow
def test_an_image_is_what_the_guide_draws_and_depends_on_its_batch_in_rounding_alone(batch: Batch, tmp_path: Path) -> None:
    run_batch(batch)
    first, second = (np.asarray(Image.open(Path(batch.out) / row["file"])) for row in rows(batch)[:2])
    # The same shapes: batches of two.
    result = SpatialGuide(batch.config)([PROMPTS[1], PROMPTS[0]], seed=[1, 0])
    assert np.array_equal(first, np.asarray(result.images[1]))
    assert np.array_equal(second, np.asarray(result.images[0]))
    # Other companions: the same names. Images of one structure are scored together, which may change a sum's last bits.
    reordered = request_file(tmp_path, [{"prompt": PROMPTS[i], "seed": i} for i in (3, 0, 4, 2, 1)])
    other = replace(batch, source=reordered, out=str(tmp_path / "other"), unit=5)
    run_batch(other)
    assert files(other).keys() == files(batch).keys()
    for name in files(batch):
        one, same = (np.asarray(Image.open(Path(each.out) / name)).astype(int) for each in (batch, other))
        assert abs(one - same).max() <= 2


@pytest.mark.slow
def test_what_is_done_is_not_done_again(batch: Batch) -> None:
    run_batch(batch)
    before = {path: path.stat().st_mtime_ns for path in Path(batch.out).rglob("*.p*")}
    report = run_batch(batch)
    assert (report["done"], report["skipped"]) == (0, 5)
    assert {path: path.stat().st_mtime_ns for path in Path(batch.out).rglob("*.p*")} == before


@pytest.mark.slow
def test_a_run_that_was_broken_off_goes_on_and_ends_the_same(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(batch, out=str(tmp_path / "whole"))
    run_batch(whole)
    commit = Store.commit

    def broken(self: Store, unit: Unit, outcomes: Any) -> Any:
        if unit.number == 1:
            # Images are there and the metadata is not: the worst moment.
            monkeypatch.setattr(Store, "_write", _only_images(Store._write))
        return commit(self, unit, outcomes)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", broken)
        original = Store._write
        with pytest.raises(KeyboardInterrupt):
            run_batch(batch)
        monkeypatch.setattr(Store, "_write", original)
    assert len(rows(batch)) == 2
    report = run_batch(batch)
    assert (report["done"], report["skipped"]) == (3, 2)
    assert files(batch) == files(whole)
    assert [path.name for path in Path(batch.out).rglob(".*")] == [".lock"]


def _only_images(write: Callable[..., None]) -> Callable[..., None]:
    def some(self: Store, name: str, content: bytes) -> None:
        if name.startswith("metadata"):
            raise KeyboardInterrupt
        write(self, name, content)

    return some


def test_poison_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    source = request_file(
        tmp_path,
        [
            {"prompt": "a cat above a dog"},
            {"prompt": "  "},
            {"prompt": "a cat left of a dog and the dog left of the cat"},
            {"prompt": "a cat above a bus", "config": {"guidance.strenght": 1}},
            {"prompt": "a cat above a bus", "config": {"backend": "sdxl"}},
            {"prompt": "a bus above a cat", "config": {"guidance.strength": 0}},
        ],
    )
    batch = Batch(source, str(tmp_path / "out"), make_config(steps=2, width=64, height=64), batch=2)
    report = run_batch(batch)
    assert (report["done"], report["failed"]) == (2, 4)
    errors = [row["error"] for row in rows(batch)]
    assert errors[0] == errors[5] == ""
    for error, part in zip(errors[1:5], ("empty", "cannot hold together", "Did you mean 'strength'", "one model"), strict=True):
        assert part in error


@pytest.mark.slow
def test_a_plugin_that_raises_takes_only_its_own_image_with_it() -> None:
    class Fussy(LossTerm):
        """Raises for scenes with a bus."""

        reads_words: ClassVar[bool] = True

        def __call__(self, statistics: Any, scene: Any) -> Any:
            if "bus" in scene.scene.prompt:
                raise RuntimeError("no buses")
            return statistics.mass.sum(dim=(1, 2))

    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Callable[..., None]) -> None:
            register("fussy", Fussy)

    registry = Registry()
    registry.add(Plugin())
    painter = Painter(make_config(steps=2, width=64, height=64, losses={"fussy": {}}), 3, registry=registry)
    unit = Unit(
        0, tuple(Request(n, text, n) for n, text in enumerate(("a cat above a dog", "a bus above a dog", "a dog above a cat")))
    )
    outcomes = painter.paint(painter.prepare(unit))
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert "no buses" in outcomes[1].error
    assert "fussy" in outcomes[1].error


def test_what_is_not_guided_is_not_drawn_with_what_is() -> None:
    """A guided batch runs in two parts, which changes the last bits."""
    painter = Painter(make_config(steps=2, guidance={"settle": False}, losses={"attend_and_excite": {}}), 2)
    prompts = ("beautiful", "a cat and a dog", "a cat above a dog")
    unit = Unit(0, tuple(Request(number, text, number) for number, text in enumerate(prompts)))
    ready = painter.prepare(unit).ready
    assert [each.guided for each in ready] == [False, True, True]
    together = painter.paint(painter.prepare(unit))
    alone = painter.paint(painter.prepare(Unit(0, unit.requests[:1])))
    assert together[0].png == alone[0].png
    assert [outcome.guided_steps for outcome in together] == [0, 1, 1]


def test_a_batch_that_fails_is_halved_until_the_guilty_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = Painter._draw

    def fussy(self: Painter, batch: Any) -> Any:
        drawn.append(len(batch))
        if any(each.request.index == 5 for each in batch):
            raise ValueError("not this one")
        return draw(self, batch)

    monkeypatch.setattr(Painter, "_draw", fussy)
    painter = Painter(make_config(steps=1, width=64, height=64, guidance={"strength": 0}), 8)
    unit = Unit(0, tuple(Request(number, "a cat above a dog", number) for number in range(8)))
    outcomes = painter.paint(painter.prepare(unit))
    assert [outcome.request.index for outcome in outcomes if outcome.status == "failed"] == [5]
    assert drawn == [8, 4, 4, 2, 1, 1, 2]


@pytest.mark.slow
def test_a_worker_that_dies_with_a_request_costs_that_request_alone(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray does it, without Ray: the ledger outlives the workers, and a call whose worker died is made again."""
    from spatialguide.batch.ledger import Ledger, too_many
    from spatialguide.batch.ray_engine import RayPainter

    # One by one, as the requests of a deadly unit are drawn again: on a CPU a denoiser's last bit depends on the batch's size.
    batch = replace(batch, batch=1)
    whole = replace(batch, out=str(tmp_path / "whole"), unit=5)
    run_batch(whole)
    paint = Painter.paint

    def deadly(self: Painter, prepared: Any) -> Any:
        if any(each.request.index == 2 for each in prepared.ready):
            raise SystemExit
        return paint(self, prepared)

    monkeypatch.setattr(Painter, "paint", deadly)
    ledger, store = Ledger(), Store(str(tmp_path / "out"))
    settings = worker_settings(batch, str(tmp_path / "out"), ledger)
    (unit,) = read_units(batch.source, 5)
    deaths = 0
    with store.opened({}):
        while True:
            worker = RayPainter(*settings)
            try:
                found = worker({"unit": [unit.to_json()]})
                break
            except SystemExit:
                deaths += 1
        assert deaths == 4  # twice with the unit, twice with the request
        assert (found["done"], found["failed"], found["fault"]) == ([4], [1], [""])
        assert found["errors"] == [["request 2: the process that drew it died each time"]]
    kept = {row["index"]: row["key"] for row in store.rows() if row["status"] == "done"}
    expected = {row["index"]: row["key"] for row in rows(whole) if row["index"] != 2}
    assert kept == expected
    for key in kept.values():
        name = f"images/{key[:2]}/{key}.png"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # What ended is forgotten, and workers that only ever start are given up.
    assert ledger.begin("unit 0") == 0
    ledger.end("unit 0")
    assert not too_many(max(ledger.started() for _ in range(7)), 1)
    with pytest.raises(BatchError, match="while they load the model"):
        RayPainter(*settings)
    with pytest.raises(BatchError, match=r"worker's machine has torch .* in place of 1\.0, nothing none in place of 2"):
        RayPainter(*settings[:-1], {**batch.installed, "torch": "1.0", "nothing": "2"})


def test_several_deadly_requests_of_a_unit_are_remembered(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spatialguide.batch.ledger import Ledger
    from spatialguide.batch.ray_engine import RayPainter

    def deadly(self: Painter, prepared: Any) -> Any:
        raise SystemExit

    monkeypatch.setattr(Painter, "paint", deadly)
    settings = worker_settings(batch, batch.out, Ledger())
    (unit,) = read_units(batch.source, 5)
    worker, deaths = RayPainter(*settings), 0
    with Store(batch.out).opened({}):
        while True:
            try:
                found = worker({"unit": [unit.to_json()]})
                break
            except SystemExit:
                deaths += 1
    assert deaths == 2 + 2 * len(unit.requests)
    assert (found["done"], found["failed"], found["fault"]) == ([0], [5], [""])


def test_a_unit_that_kills_whoever_writes_it_ends_the_run(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    from spatialguide.batch.ledger import Ledger
    from spatialguide.batch.ray_engine import RayPainter

    def deadly(self: Store, unit: Unit, outcomes: Any) -> Any:
        raise SystemExit

    monkeypatch.setattr(Painter, "paint", lambda self, prepared: [])
    monkeypatch.setattr(Store, "commit", deadly)
    settings = worker_settings(batch, batch.out, Ledger())
    worker, unit = RayPainter(*settings), next(read_units(batch.source, 1))
    for _ in range(5):
        with pytest.raises(SystemExit):
            worker({"unit": [unit.to_json()]})
    (fault,) = worker({"unit": [unit.to_json()]})["fault"]
    assert fault.startswith("workers die again and again while they write unit 0")


def test_a_gpu_that_fails_ends_the_run_and_names_the_requests(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Painter, ready: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Painter, "_draw", lost)
    with pytest.raises(BatchError, match=r"the GPU failed while requests 1, 0 were drawn: CUDA error: an illegal"):
        run_batch(batch)


@pytest.mark.slow
def test_failed_requests_are_tried_again_when_asked(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Painter, "_draw", lambda self, ready: (_ for _ in ()).throw(ValueError("full")))
        assert run_batch(batch)["failed"] == 5
    assert rows(batch)[0]["error"] == "ValueError: full"
    again = run_batch(batch)
    assert (again["done"], again["failed"], again["skipped"], again["failed_before"]) == (0, 0, 5, 5)
    assert run_batch(replace(batch, retry_failed=True))["done"] == 5


def test_another_input_costs_nothing_that_is_there(batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Painter, "_draw", lambda self, ready: (_ for _ in ()).throw(ValueError("full")))
        run_batch(batch)
    before = rows(batch)
    (tmp_path / "other").mkdir()
    other = request_file(tmp_path / "other", [{"prompt": "a cat above a dog"}])
    with pytest.raises(BatchError, match="the input has changed"):
        run_batch(replace(batch, source=other, retry_failed=True))
    assert rows(batch) == before
    fewer = request_file(tmp_path / "other", [{"prompt": prompt, "seed": n} for n, prompt in enumerate(PROMPTS[:4])])
    with pytest.raises(BatchError, match="more requests"):
        run_batch(replace(batch, source=fewer))


def test_an_image_that_cannot_be_encoded_is_poison(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(image: Any, metadata: dict[str, Any]) -> bytes:
        if metadata["prompt"] == PROMPTS[1]:
            raise TypeError("no picture")
        return png_bytes(image, metadata)

    monkeypatch.setattr("spatialguide.batch.painter.png_bytes", refused)
    report = run_batch(batch)
    assert (report["done"], report["failed"], report["errors"]) == (4, 1, ["request 1: TypeError: no picture"])


def test_a_request_that_asks_for_too_much_memory_is_poison(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = [{"prompt": PROMPTS[0], "config": {"width": 96}}, {"prompt": PROMPTS[1]}]
    drawn = Painter._draw

    def full(self: Painter, ready: Any) -> Any:
        if ready[0].config.width == 96:
            raise MemoryError("full")
        return drawn(self, ready)

    monkeypatch.setattr(Painter, "_draw", full)
    report = run_batch(replace(batch, source=request_file(tmp_path, lines)))
    assert (report["done"], report["failed"]) == (1, 1)


def test_what_is_wrong_with_the_run_is_no_poison(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownPluginError, match="none"):
        run_batch(replace(batch, config=make_config(backend="none")))
    with pytest.raises(UnknownPluginError, match="nothing"):
        run_batch(replace(batch, out=f"{batch.out}2", config=make_config(losses={"nothing": {}})))
    monkeypatch.setattr(Painter, "_draw", lambda self, ready: (_ for _ in ()).throw(MemoryError("full")))
    with pytest.raises(BatchError, match="smaller --batch"):
        run_batch(replace(batch, out=f"{batch.out}3"))
    assert not rows(batch)


def test_shards_are_web_datasets(batch: Batch) -> None:
    import webdataset

    sharded = replace(batch, layout="shards")
    run_batch(sharded)
    shards = sorted(str(path) for path in (Path(batch.out) / "shards").iterdir())
    assert len(shards) == 3
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert [sample["txt"].decode() for sample in samples] == PROMPTS
    for sample, row in zip(samples, rows(sharded), strict=True):
        assert sample["__key__"] == row["key"]
        assert json.loads(sample["json"])["seed"] == row["index"]
        assert Image.open(io.BytesIO(sample["png"])).size == (64, 64)
        with tarfile.open(Path(batch.out) / row["file"]) as shard:
            assert f"{row['key']}.png" in shard.getnames()


@pytest.mark.slow
def test_a_shard_that_holds_nothing_any_more_is_removed(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    sharded = replace(batch, layout="shards", unit=5)
    draw = Painter._draw

    def first_fails(self: Painter, ready: Any) -> Any:
        if ready[0].request.index == 0:
            raise ValueError("no")
        return draw(self, ready)

    with monkeypatch.context() as patch:
        patch.setattr(Painter, "_draw", first_fails)
        assert 0 < run_batch(sharded)["failed"] < 5
    assert list(files(sharded)) == ["shards/unit-000000.tar"]
    with monkeypatch.context() as patch:
        patch.setattr(Painter, "_draw", lambda self, ready: (_ for _ in ()).throw(ValueError("no")))
        assert run_batch(replace(sharded, retry_failed=True))["failed"] == 5
    assert files(sharded) == {}


@pytest.mark.slow
def test_a_run_goes_on_with_the_threads_it_was_started_with(batch: Batch) -> None:
    run_batch(replace(batch, threads=1))
    assert json.loads((Path(batch.out) / "manifest.json").read_text())["threads"] == 1
    assert run_batch(batch)["skipped"] == 5
    with pytest.raises(BatchError, match="threads is 1 there and 2 here"):
        run_batch(replace(batch, threads=2))


@pytest.mark.slow
@pytest.mark.ray
def test_another_engine_goes_on_with_the_threads_it_was_started_with(batch: Batch) -> None:
    pytest.importorskip("ray")
    run_batch(replace(batch, threads=1))
    assert run_batch(replace(batch, engine="ray", cpus=3))["skipped"] == 5


@pytest.mark.slow
def test_a_manifest_that_cannot_be_read_is_named(batch: Batch) -> None:
    run_batch(batch)
    (Path(batch.out) / "manifest.json").write_text("{")
    with pytest.raises(BatchError, match=r"manifest\.json' cannot be read"):
        run_batch(batch)


def test_other_versions_do_not_go_on_with_a_run(batch: Batch) -> None:
    run_batch(batch)
    path = Path(batch.out) / "manifest.json"
    known = json.loads(path.read_text())
    assert {"spatialguide", "torch", "diffusers"} <= set(known["versions"])
    known["versions"]["diffusers"] = "0.1"
    path.write_text(json.dumps(known))
    with pytest.raises(BatchError, match=r'versions.diffusers is "0.1" there'):
        run_batch(batch)


class Remote(MemoryFileSystem):
    """A store whose puts are not atomic, and which may refuse."""

    protocol = "remote"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fails: ClassVar[bool] = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **rest: Any) -> None:
        if Remote.fails:
            raise ConnectionError("gone away")
        super().pipe_file(path, value, mode, **rest)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> type[Remote]:
    fsspec.register_implementation("remote", Remote, clobber=True)
    monkeypatch.setattr(Remote, "store", {})
    monkeypatch.setattr(Remote, "pseudo_dirs", [""])
    return Remote


@pytest.mark.slow
def test_a_store_without_atomic_puts_is_written_by_renaming(
    batch: Batch, remote: type[Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = replace(batch, out="remote://results")
    run_batch(there)
    run_batch(batch)
    assert [row["key"] for row in rows(there)] == [row["key"] for row in rows(batch)]
    assert len([name for name in remote.store if name.endswith(".png")]) == 5
    assert not [name for name in remote.store if "draft" in name]
    # A connection that is lost before the renaming leaves no file that counts.
    with monkeypatch.context() as patch:
        patch.setattr(remote, "mv", lambda self, *paths, **rest: (_ for _ in ()).throw(ConnectionError("gone away")))
        with pytest.raises(BatchError, match="gone away"):
            run_batch(replace(batch, out="remote://other"))
    left = [name for name in remote.store if "other" in name]
    assert left
    assert all("other/.drafts/" in name for name in left)
    # The next start removes what was left.
    run_batch(replace(batch, out="remote://other"))
    assert not [name for name in remote.store if ".drafts" in name]


@pytest.mark.slow
def test_a_store_that_does_not_rename_over_a_file_is_written(
    batch: Batch, remote: type[Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    move = MemoryFileSystem.mv

    def careful(self: Remote, old: str, new: str) -> None:
        if self.exists(new):
            raise FileExistsError(new)
        move(self, old, new)

    monkeypatch.setattr(remote, "mv", careful)
    there = replace(batch, out="remote://again")
    with monkeypatch.context() as patch:
        patch.setattr(Painter, "_draw", lambda self, ready: (_ for _ in ()).throw(ValueError("full")))
        assert run_batch(there)["failed"] == 5
    assert run_batch(replace(there, retry_failed=True))["done"] == 5
    assert [row["status"] for row in rows(there)] == ["done"] * 5


def test_a_store_that_refuses_says_what_to_do(batch: Batch, remote: type[Remote], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "fails", True)
    with pytest.raises(BatchError, match=r"cannot write to 'remote://results': gone away; check the address"):
        run_batch(replace(batch, out="remote://results"))


def test_another_run_in_the_same_place_is_refused(batch: Batch, tmp_path: Path) -> None:
    run_batch(batch)
    with pytest.raises(BatchError, match=r"config.steps is 2 there and 3 here"):
        run_batch(replace(batch, config=make_config(steps=3, width=64, height=64)))
    other = request_file(tmp_path, [{"prompt": "a cat above a dog"}])
    with pytest.raises(BatchError, match="the input has changed"):
        run_batch(replace(batch, source=other))


def test_two_drivers_at_once_are_refused(batch: Batch) -> None:
    with Store(batch.out).opened(batch.manifest), pytest.raises(BatchError, match="another process"):
        run_batch(batch)


def test_results_go_to_whatever_fsspec_opens(batch: Batch) -> None:
    remote = replace(batch, out="memory://somewhere/out")
    assert run_batch(remote)["done"] == 5
    assert run_batch(remote)["skipped"] == 5
    assert [row["status"] for row in rows(remote)] == ["done"] * 5


def test_an_unknown_kind_of_store_is_named(batch: Batch) -> None:
    with pytest.raises(BatchError, match="nowhere"):
        run_batch(replace(batch, out="nowhere://bucket/x"))


@pytest.mark.slow
def test_metrics_are_served(batch: Batch) -> None:
    metrics = Metrics(0)
    run_batch(batch, metrics)
    port = metrics.server.server_port
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    metrics.server.shutdown()
    metrics.server.server_close()
    assert 'spatialguide_images_total{status="done"} 5.0' in text
    assert "spatialguide_step_seconds_count 3.0" in text
    assert "spatialguide_queue 0.0" in text


def test_metadata_is_one_parquet_dataset(batch: Batch) -> None:
    run_batch(batch)
    table = pq.read_table(Path(batch.out) / "metadata")
    assert table.num_rows == 5
    assert {"index", "id", "prompt", "seed", "status", "key", "file", "error", "seconds"} <= set(table.column_names)


# --- what was committed is looked at -----------------------------------------------------------------------------------


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _other(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("layout", ["images", "shards"])
@pytest.mark.parametrize(("harm", "verify"), [(_gone, False), (_cut, False), (_other, True)])
def test_images_that_were_harmed_are_drawn_again(batch: Batch, layout: Any, harm: Callable[[Path], None], verify: bool) -> None:
    batch = replace(batch, layout=layout)
    run_batch(batch)
    whole = files(batch)
    harm(Path(batch.out) / rows(batch)[0]["file"])
    report = run_batch(replace(batch, verify=verify))
    assert (report["damaged"], report["done"], report["skipped"]) == (1, 2, 3)
    assert files(batch) == whole
    assert run_batch(replace(batch, verify=True))["skipped"] == 5


@pytest.mark.slow
def test_images_in_a_bucket_are_looked_at_too(batch: Batch) -> None:
    remote = replace(batch, out="memory://harmed/out")
    run_batch(remote)
    store = MemoryFileSystem()
    name = f"/harmed/out/{rows(remote)[4]['file']}"
    store.pipe_file(name, store.cat_file(name)[:-1])
    assert run_batch(remote)["damaged"] == 1
    assert run_batch(remote)["skipped"] == 5


def test_an_image_that_two_units_share_is_whole_as_either_wrote_it(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bits may differ, and with them the size."""
    sizes = iter(range(10, 90, 10))
    monkeypatch.setattr("spatialguide.batch.painter.png_bytes", lambda *parts: png_bytes(*parts) + bytes(next(sizes)))
    twice = replace(batch, source=request_file(tmp_path, [{"prompt": PROMPTS[0]}] * 2), unit=1)
    run_batch(twice)
    assert len(files(twice)) == 1
    for verify in (False, True):
        report = run_batch(replace(twice, verify=verify))
        assert (report["damaged"], report["skipped"]) == (0, 2)
    _cut(Path(batch.out) / rows(twice)[0]["file"])
    assert run_batch(twice)["damaged"] == 2


@pytest.mark.parametrize("length", [0, 10, 2000, -1])
def test_metadata_that_was_cut_is_named(batch: Batch, length: int) -> None:
    run_batch(batch)
    path = Path(batch.out) / "metadata" / "unit-000001.parquet"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BatchError, match=r"unit-000001\.parquet' cannot be read"):
        run_batch(batch)


def test_strange_files_among_the_metadata_are_no_units(batch: Batch) -> None:
    run_batch(batch)
    for name in ("unit-abc.parquet", "unit-.parquet", "unit-1.parquet", "unit--00001.parquet", "unit-000007.parquet.old"):
        (Path(batch.out) / "metadata" / name).write_text("strange")
    assert run_batch(batch)["skipped"] == 5
    assert len(rows(batch)) == 5


@pytest.mark.parametrize(
    "text",
    ["[]", "[[1, 2]]", "null", '{"threads": -3}', '{"threads": 2.5}', '{"threads": true}', '{"config":' * 100_000]
    + [f'{{"config":{"[" * depth}{"]" * depth}}}' for depth in (300, 900, 950, 990, 5000)],
)  # fmt: skip
def test_a_strange_manifest_is_named(batch: Batch, text: str) -> None:
    Path(batch.out).mkdir()
    (Path(batch.out) / "manifest.json").write_text(text)
    with pytest.raises(BatchError, match=r"manifest\.json' cannot be read|holds another run"):
        run_batch(batch)


@pytest.mark.parametrize("name", ["batch", "unit", "images", "workers", "threads"])
@pytest.mark.parametrize("value", [0, -3])
def test_counts_below_one_are_refused(batch: Batch, name: str, value: int) -> None:
    with pytest.raises(BatchError, match=f"{name} must be at least 1, not {value}"):
        replace(batch, **{name: value})


@pytest.mark.parametrize("out", ["", "  "])
def test_no_place_is_no_folder(batch: Batch, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(BatchError, match="--out names no folder"):
        run_batch(replace(batch, out=out))
    assert set(tmp_path.iterdir()) == before


# --- the local engine survives what kills it ---------------------------------------------------------------------------


class _Death(BaseException):
    """Stands for the process's death: nothing is tidied up after it."""


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Deaths in this process: the ledger does not hear of them."""
    leave = StoredLedger.__exit__

    def silent(self: StoredLedger, kind: Any, error: Any, trace: Any) -> None:
        if kind is not _Death:
            leave(self, kind, error, trace)

    monkeypatch.setattr(StoredLedger, "__exit__", silent)
    return monkeypatch


def _deaths(batch: Batch) -> tuple[int, dict[str, Any]]:
    """How often the run must be started until it ends, and its report."""
    for deaths in range(20):
        try:
            return deaths, run_batch(batch)
        except _Death:
            pass
    raise AssertionError("it dies for ever")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["paint", "prepare"])
def test_a_request_that_kills_the_process_is_set_aside(
    batch: Batch, tmp_path: Path, mortal: pytest.MonkeyPatch, place: str
) -> None:
    # Each by itself: on a CPU a denoiser's last bit depends on its batch.
    batch = replace(batch, batch=1)
    whole = replace(batch, out=str(tmp_path / "whole"))
    run_batch(whole)
    work = getattr(Painter, place)

    def deadly(self: Painter, what: Any) -> Any:
        requests = what.requests if place == "prepare" else what.unit.requests
        if any(request.index == 2 for request in requests):
            raise _Death
        return work(self, what)

    with mortal.context() as patch:
        patch.setattr(Painter, place, deadly)
        deaths, report = _deaths(batch)
    assert deaths == 4  # twice with the unit, twice with the request
    assert report["errors"] == ["request 2: the process that drew it died each time"]
    assert [row["status"] for row in rows(batch)] == ["done", "done", "failed", "done", "done"]
    # The others are the same, and nothing of the notes is left.
    assert files(batch).items() < files(whole).items()
    assert not (Path(batch.out) / "begun.json").exists()
    assert run_batch(replace(batch, retry_failed=True))["done"] == 2
    assert files(batch) == files(whole)


def test_several_deadly_requests_are_set_aside_and_no_other(batch: Batch, mortal: pytest.MonkeyPatch) -> None:
    paint = Painter.paint

    def deadly(self: Painter, prepared: Any) -> Any:
        if any(request.index in (0, 1, 4) for request in prepared.unit.requests):
            raise _Death
        return paint(self, prepared)

    mortal.setattr(Painter, "paint", deadly)
    deaths, report = _deaths(batch)
    assert deaths <= 2 + 2 * 2 + 2 + 2
    assert (report["done"], report["failed"]) == (0, 1)
    assert [row["status"] for row in rows(batch)] == ["failed", "failed", "done", "done", "failed"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_no_death_is_forgotten(batch: Batch, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Painter, "_draw", lambda self, ready: (_ for _ in ()).throw(error("now")))
        for _ in range(6):
            with pytest.raises((KeyboardInterrupt, BatchError)):
                run_batch(batch)
    assert run_batch(batch)["done"] == 5


def test_a_unit_that_kills_the_process_while_it_is_written_ends_the_run(batch: Batch, mortal: pytest.MonkeyPatch) -> None:
    def deadly(self: Store, unit: Unit, outcomes: Any) -> Any:
        raise _Death

    mortal.setattr(Painter, "paint", lambda self, prepared: [])
    mortal.setattr(Store, "commit", deadly)
    with pytest.raises(BatchError, match="while they write unit 0: is its --unit too large"):
        _deaths(replace(batch, unit=5))


@pytest.mark.parametrize("text", ["[1]", "{", '{"unit 0": "x"}', "[" * 100_000])
def test_strange_notes_are_named(batch: Batch, text: str) -> None:
    Path(batch.out).mkdir()
    (Path(batch.out) / "begun.json").write_text(text)
    with pytest.raises(BatchError, match=r"begun\.json' cannot be read.*remove it"):
        run_batch(batch)
