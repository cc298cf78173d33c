"""Requests are read as they are written, one by one, and what cannot be used says why."""

from __future__ import annotations

import gzip
import itertools
import json
from decimal import Decimal
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from spatialguide.batch.requests import Request, Unit, _format, read_units
from spatialguide.errors import BatchError


def requests(source: Path, **options: int) -> list[Request]:
    return list(itertools.chain.from_iterable(unit.requests for unit in read_units(str(source), 4, **options)))


def test_json_lines_with_seed_id_and_configuration(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"prompt": "a cat", "seed": 4, "id": 7, "config": {"guidance.strength": 1}}\n\n{"prompt": "a dog"}\n')
    assert requests(path, seed=2) == [
        Request(0, "a cat", 4, {"guidance.strength": 1}, "7"),
        Request(1, "a dog", 2),
    ]


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    rows = [{"prompt": "a cat, sitting", "seed": 1}, {"prompt": "a dog", "seed": 2}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "r.csv").write_text('prompt,seed\n"a cat, sitting",1\na dog,2\n')
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    found = [requests(tmp_path / f"r.{suffix}") for suffix in ("jsonl", "csv", "parquet")]
    assert found[0] == found[1] == found[2]
    (tmp_path / "r.txt").write_text("a cat, sitting\na dog\n")
    assert [each.prompt for each in requests(tmp_path / "r.txt")] == ["a cat, sitting", "a dog"]


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("a.csv", (".csv", None)),
        ("runs/v1.2/prompts", ("", None)),
        ("what?.jsonl", (".jsonl", None)),
        ("https://host/a.csv?signature=x.txt", (".csv", None)),
        ("simplecache::s3://bucket/a.parquet", (".parquet", None)),
        ("zip://inside.csv::s3://bucket/all.zip", (".csv", None)),
        ("s3://bucket/A.JSONL.GZ", (".jsonl", "gzip")),
        ("prompts.txt.zst", (".txt", "zstd")),
        ("prompts.gz", ("", "gzip")),
    ],
)
def test_the_format_is_read_from_the_files_name(address: str, form: tuple[str, str | None]) -> None:
    assert _format(address) == form


def test_compressed_files_and_chains_are_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "r.csv.gz", "wt") as stream:
        stream.write("prompt,seed\na cat,3\n")
    assert requests(tmp_path / "r.csv.gz") == [Request(0, "a cat", 3)]
    with gzip.open(tmp_path / "r.gz", "wt") as stream:
        stream.write("a cat\na dog\n")
    assert [each.prompt for each in requests(tmp_path / "r.gz")] == ["a cat", "a dog"]
    (tmp_path / "r.csv").write_text("prompt,seed\na cat,3\n")
    (unit,) = read_units(f"simplecache::file://{tmp_path}/r.csv", 4)
    assert unit.requests == (Request(0, "a cat", 3),)


def test_a_json_array_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('[{"prompt": "a cat", "seed": 3}, "a dog", 7]')
    first, second, third = requests(tmp_path / "r.json")
    assert (first, second) == (Request(0, "a cat", 3), Request(1, "a dog", 0))
    assert third.problem == "entry 2 is no JSON object"
    for content, message in (
        ('{"prompt": "a cat"}', "must hold an array"),
        ("{}\n{}", "cannot read prompts"),
        ('[{"prompt": "a cat", "prompt": "a dog"}]', "the key 'prompt' is there twice"),
        (40 * "[" + 40 * "]", "nested deeper than 32 levels"),
    ):
        (tmp_path / "r.json").write_text(content)
        with pytest.raises(BatchError, match=message):
            requests(tmp_path / "r.json")


def test_only_the_columns_of_requests_are_read_of_a_parquet_file(tmp_path: Path) -> None:
    rows = [{"prompt": "a cat", "seed": Decimal(3), "image": b"x"}, {"prompt": "a dog", "seed": Decimal("1.5"), "image": b"y"}]
    table = pa.Table.from_pylist(
        rows, schema=pa.schema({"prompt": pa.string(), "seed": pa.decimal128(5, 1), "image": pa.binary()})
    )
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    whole, broken = requests(tmp_path / "r.parquet")
    assert whole == Request(0, "a cat", 3)
    assert broken.problem is not None
    assert '"seed" must be a whole number' in broken.problem


def test_a_row_of_a_parquet_file_that_is_not_utf8_is_set_aside(tmp_path: Path) -> None:
    raw = pa.array([b"a cat", b"\xff", b"a dog"], pa.binary())
    table = pa.table({"prompt": pa.Array.from_buffers(pa.string(), 3, raw.buffers()), "seed": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    first, second, third = requests(tmp_path / "r.parquet")
    assert (first, third) == (Request(0, "a cat", 1), Request(2, "a dog", 3))
    assert second.problem == "a text is not UTF-8: invalid start byte"


def test_a_cell_of_a_csv_without_end_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(f"prompt,seed\na cat,1\n{'long ' * 30_000},2\na dog,3\n")
    first, second, third = requests(tmp_path / "r.csv")
    assert (first, third) == (Request(0, "a cat", 1), Request(2, "a dog", 3))
    assert second.problem is not None
    assert second.problem.startswith("line 3 is not CSV: field larger than")


def test_a_compression_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(fsspec.compression.compr, "zstd", raising=False)
    with pytest.raises(BatchError, match=r"r\.jsonl\.zst': install zstandard"):
        requests(tmp_path / "r.jsonl.zst")


def test_what_a_store_raises_says_which_file_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class ClientError(Exception):
        """As of a store's own library: no OSError."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise ClientError("403 Forbidden")

    monkeypatch.setattr(fsspec, "open", refuse)
    with pytest.raises(BatchError, match=r"'s3://bucket/r\.csv': 403 Forbidden"):
        list(read_units("s3://bucket/r.csv", 4))


def test_other_columns_of_a_csv_are_keys_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("prompt,guidance.strength,steps\na cat,1.5,\na dog,,30\n")
    assert [each.config for each in requests(tmp_path / "r.csv")] == [{"guidance.strength": 1.5}, {"steps": 30}]


def test_structs_of_a_parquet_file_hold_only_what_a_row_says(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "config": {"steps": 3, "width": None}}, {"prompt": "b", "config": None}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    assert [each.config for each in requests(tmp_path / "r.parquet")] == [{"steps": 3}, {}]


def test_a_configuration_in_a_parquet_file_is_read_within_limits(tmp_path: Path) -> None:
    configs = ['{"steps": 3}', "", '{"steps": 3, "steps": 4}', '{"a": ' * 40 + "1" + "}" * 40]
    pyarrow.parquet.write_table(pa.table({"prompt": ["a"] * 4, "config": configs}), tmp_path / "r.parquet")
    whole, empty, twice, deep = requests(tmp_path / "r.parquet")
    assert (whole.config, empty.config) == ({"steps": 3}, {})
    assert twice.problem == "\"config\" is not JSON: the key 'steps' is there twice: leave out one"
    assert deep.problem == '"config" is not JSON: it is nested deeper than 32 levels'


def test_several_images_have_seeds_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"prompt": "a", "seed": 10}\n{"prompt": "b"}\n')
    assert [(r.index, r.prompt, r.seed) for r in requests(tmp_path / "r.jsonl", images=2, seed=5)] == [
        (0, "a", 10),
        (1, "a", 11),
        (2, "b", 5),
        (3, "b", 6),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[1]", "line 1 is no JSON object"),
        ("{", "line 1 is not JSON"),
        ('{"words": "a"}', 'a request needs a text "prompt"'),
        ('{"prompt": 3}', 'a request needs a text "prompt"'),
        ('{"prompt": "a", "seed": "x"}', '"seed" must be a whole number'),
        ('{"prompt": "a", "seed": -1}', '"seed" must be a whole number'),
        ('{"prompt": "a", "seed": 1.5}', '"seed" must be a whole number'),
        ('{"prompt": "a", "seed": true}', '"seed" must be a whole number'),
        ('{"prompt": "a", "seed": 1e999}', '"seed" must be a whole number'),
        ('{"prompt": "a", "seed": 1' + 400 * "0" + "}", '"seed" must be a whole number'),
        ('{"prompt": "a", "config": 3}', '"config" must hold keys'),
        ('{"prompt": "a", "config": {"x": NaN}}', '"config" must hold numbers'),
        ('{"prompt": "a", "config": {"detector_options": {"x": "\\ud800"}}}', '"config" must hold numbers'),
        ('{"prompt": "\\ud800"}', "the prompt is no valid text"),
        ("\udcff", "line 1 is not UTF-8"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(line: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(line, errors="surrogateescape")
    (request,) = requests(tmp_path / "r.jsonl")
    assert request.problem is not None
    assert request.problem.startswith(problem)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", b"words\na\n", "column"),
        ("r.tsv", b"words\tseed\na\t1\n", "column"),
        ("r.parquet", b"no parquet", "cannot read prompts"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match=message):
        requests(tmp_path / name)


def test_large_seeds_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"prompt": "a", "seed": 4611686018427387901}')
    assert requests(tmp_path / "r.jsonl")[0].seed == 4611686018427387901


def test_candidates_of_neighbours_do_not_overlap(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b", "config": {"guidance.best_of": 2}}')
    assert [each.seed for each in requests(tmp_path / "r.jsonl", images=2, best_of=4)] == [0, 4, 0, 2]
    # As JSON has it, and as any of these is read by the configuration.
    for value in (3, 3.0, "3"):
        (tmp_path / "r.jsonl").write_text(json.dumps({"prompt": "b", "config": {"guidance": {"best_of": value, "clip": 1}}}))
        first, second = requests(tmp_path / "r.jsonl", images=2)
        assert (first.seed, second.seed) == (0, 3)
        assert second.config == {"guidance.best_of": value, "guidance.clip": 1}


def test_a_date_in_a_csv_is_text(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("prompt,steps\na,2024-01-01\nb,2021-13-45\n")
    assert [each.config for each in requests(tmp_path / "r.csv")] == [{"steps": "2024-01-01"}, {"steps": "2021-13-45"}]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"a cat, to the left of a dog,2", "line 2 has more cells than the header"),
        (b"a,&a [*a]", "line 2: a value is not valid YAML: line 1 has an alias"),
        (b'a,"{a: 1, a: 2}"', "line 2: a value is not valid YAML: the key 'a' is there twice"),
        (b"a," + 40 * b"[", "line 2: a value is not valid YAML: "),
        (b"a," + 40 * b"[" + 40 * b"]", "line 2: a value is not valid YAML: it is nested deeper than 32 levels"),
        (b"a," + 5000 * b"9", "line 2: a value is not valid YAML: "),
        (b"a,!!int x", "line 2: a value is not valid YAML"),
        (b'a,"{1: 2, b: 3}"', '"config" must hold numbers'),
        (b"a \xff,2", "the prompt is no valid text"),
        (b"a,\xff", "line 2: a value is not valid YAML"),
    ],
)
def test_a_row_of_a_csv_that_cannot_be_used_says_why(row: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(b"prompt,steps\n" + row + b"\nb,3\n")
    first, second = requests(tmp_path / "r.csv")
    assert first.problem is not None
    assert first.problem.startswith(problem)
    assert (second.prompt, second.config) == ("b", {"steps": 3})


def test_a_seed_that_candidates_carry_too_far_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps({"prompt": "a", "config": {"guidance.best_of": 10**400}}))
    first, second = requests(tmp_path / "r.jsonl", images=2)
    assert first.problem is None
    assert second.problem is not None
    assert "beyond 2**62" in second.problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"none\.txt"):
        requests(tmp_path / "none.txt")


def test_the_file_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    path.write_text("a cat\n" * 100_000)
    units = read_units(str(path), 10)
    assert next(units).number == 0  # the rest is not read


def test_units_go_through_json(tmp_path: Path) -> None:
    unit = Unit(3, (Request(12, "a cät", 5, {"steps": 4}, "x"), Request(13, "", 0, problem="why")))
    again = Unit.from_json(unit.to_json())
    assert again == unit
    assert again.digest == unit.digest
    assert Unit(3, unit.requests[:1]).digest != unit.digest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("visor.json", '[{"text": "a cat left of a dog", "unique_id": 7, "rel_type": "left"}, {"text": "a bus"}]'),
        ("drawbench.csv", 'Prompts,Category\n"a cat left of a dog",Positional\na bus,Colors\n'),
        ("parti.tsv", "Prompt\tCategory\tChallenge\tNote\na cat left of a dog\tAnimals\tBasic\t\na bus\tVehicles\tBasic\tx\n"),
        ("geneval.jsonl", '{"tag": "position", "include": [], "prompt": "a cat left of a dog"}\n{"prompt": "a bus"}\n'),
        ("t2i.txt", "a cat left of a dog\na bus\n"),
    ],
)
def test_benchmarks_are_read_as_they_are_published(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = requests(tmp_path / name)
    assert [(each.prompt, each.problem, each.config) for each in found] == [
        ("a cat left of a dog", None, {}),
        ("a bus", None, {}),
    ]
