"""The files that people expect of a repository: they parse, and say what the package says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# `name==version` lines.
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))


def read(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def minor(version: str) -> tuple[int, int]:
    major, _, rest = version.partition(".")
    return int(major), int(rest)


@pytest.mark.parametrize(
    "path", [*WORKFLOWS, *sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))], ids=lambda path: path.name
)
def test_github_files_parse(path: Path) -> None:
    content = read(path)
    if path in WORKFLOWS:
        assert content[True], "a workflow says when it runs"  # YAML 1.1 reads `on` as true
        assert content["permissions"] == {"contents": "read"}
        assert all(job["runs-on"] and job["steps"] for job in content["jobs"].values())
    elif path.name != "config.yml":
        assert content["name"]
        assert len({part["id"] for part in content["body"] if part["type"] != "markdown"}) > 1


def test_workflows_try_every_python_that_the_package_is_for() -> None:
    jobs = read(".github/workflows/tests.yml")["jobs"]
    tried = [minor(version) for version in jobs["newest"]["strategy"]["matrix"]["python"]]
    lowest = minor(PROJECT["requires-python"].removeprefix(">="))
    assert tried == [(lowest[0], number) for number in range(lowest[1], tried[-1][1] + 1)]
    stated = {minor(found) for found in re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))}
    assert stated <= set(tried)
    assert any(step.get("with", {}).get("python-version") == "3.11" for step in jobs["lowest"]["steps"])


def test_pre_commit_runs_the_versions_of_the_constraints() -> None:
    repositories = {item["repo"].rpartition("/")[2]: item for item in read(".pre-commit-config.yaml")["repos"]}
    assert repositories["ruff-pre-commit"]["rev"] == f"v{PINS['ruff']}"
    (mypy,) = repositories["local"]["hooks"]
    assert mypy["name"] == f"mypy {PINS['mypy']}"
    assert [hook["id"] for hook in repositories["ruff-pre-commit"]["hooks"]] == ["ruff-check", "ruff-format"]


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation), "what CFF 1.2 requires"
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]


def test_the_lowest_versions_are_found_as_by_hand() -> None:
    """The workflow runs what the comment in .ci/run says."""
    by_hand = (ROOT / ".ci" / "run").read_text()
    (job,) = (job for name, job in read(".github/workflows/tests.yml")["jobs"].items() if name == "lowest")
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    for flag in ("--resolution lowest-direct --override override.txt", '-m "not slow" -W ignore::DeprecationWarning'):
        assert flag in commands
        assert flag in by_hand


@pytest.mark.parametrize("name", PAGES)
def test_links_of_the_pages_exist(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_security_sends_to_the_page_and_names_the_same_limits() -> None:
    short, page = ((ROOT / name).read_text() for name in ("SECURITY.md", "docs/security.md"))
    for words in ("`--trust`", "spatialguide serve", "as trusted as a command"):
        assert words in short
        assert words in page
