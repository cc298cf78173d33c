from __future__ import annotations

import ast
import re
import sys
import types
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from spatialguide import DirectionalPredicate, LossTerm, SpatialGuide, hookimpl, hookspecs, registry
from spatialguide.config import DEFAULT_PRESET, GuideConfig
from spatialguide.contracts import Backend, Generation
from spatialguide.errors import (
    ConfigError,
    DuplicatePluginError,
    InvalidPluginError,
    MissingTermWarning,
    PluginError,
    PluginImportError,
    UnknownPluginError,
)
from spatialguide.evaluation.detection import make_detector
from spatialguide.registry import KINDS, Registry
from spatialguide.scenes.records import scene_from_triples
from spatialguide_parsers.english import SpacyParser

ROOT = Path(__file__).parent.parent


class Zero(LossTerm):
    def __call__(self, statistics: Any, scene: Any) -> Any:
        return statistics.mass.sum(dim=(1, 2)) * 0


def plugin(kind: str, *registered: tuple[Any, Any], name: str = "third_party") -> types.ModuleType:
    """A plugin module that registers things of one kind."""
    module = types.ModuleType(name)

    def hook(register: Callable[[Any, Any], None]) -> None:
        for item in registered:
            register(*item)

    hook.__name__ = f"spatialguide_{kind}"
    setattr(module, hook.__name__, hookimpl(hook))
    return module


def install(folder: Path, entry: str, **files: str) -> None:
    """A distribution called evil-dist on a path: modules and an entry point."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / "evil_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[spatialguide]\n{entry}\n")


def test_first_party_plugins_come_through_the_same_group(registry: Registry) -> None:
    assert {"alignment", "presence", "balance"} <= set(registry.names("losses"))
    assert {"left_of", "right_of", "above", "below", "next_to", "on"} <= set(registry.names("relations"))
    assert "spacy" in registry.names("parsers")
    assert "tiny" in registry.names("backends")
    assert "tiny" in registry.names("detectors")
    assert {item.distribution for item in registry} == {"spatialguide"}
    groups = {e.name for e in metadata.entry_points(group=hookspecs.GROUP) if e.dist and e.dist.name == "spatialguide"}
    assert groups == {"first_party_plugins", "first_party_parsers"}


def test_the_core_imports_no_plugin() -> None:
    for path in (ROOT / "spatialguide").rglob("*.py"):
        assert not re.search(r"(from|import) spatialguide_(plugins|parsers)", path.read_text()), path


#: Names that mean something else where the core says them: modes, libraries, attributes, architectures.
HOMONYMS = {
    "evaluation/candidates.py": {"paper"},  # a mode
    "config.py": {"paper"},
    "guidance/calls.py": {"paper"},
    "guidance/denoiser.py": {"unet"},
    "versions.py": {"spacy"},
    "evaluation/architectures.py": {"sd15", "sd21", "sdxl"},
}


def test_the_core_names_no_plugin(registry: Registry) -> None:
    kinds = ("losses", "parsers", "backends", "detectors", "presets")
    names = {name for kind in kinds for name in registry.names(kind)} - {DEFAULT_PRESET}
    for path in (ROOT / "spatialguide").rglob("*.py"):
        if path.name == "page.py":  # hints for people who draw, by name of the term
            continue
        said = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert said & names <= HOMONYMS.get(str(path.relative_to(ROOT / "spatialguide")), set()), path


def test_a_third_party_adds_a_preset() -> None:
    registry = Registry()
    registry.add(plugin("presets", ("bold", {"guidance": {"strength": 5.0}})), "their-dist")
    config = SpatialGuide(preset="bold", registry=registry, steps=3).config
    assert (config.guidance.strength, config.steps, config.losses) == (5.0, 3, GuideConfig().losses)
    with pytest.raises(ConfigError, match="Did you mean 'bold'"):
        SpatialGuide(preset="bald", registry=registry)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_documented_hook(kind: str) -> None:
    hook = getattr(hookspecs, f"spatialguide_{kind}")
    assert hook.__doc__
    assert f"`spatialguide_{kind}`" in (ROOT / "docs" / "plugins.md").read_text()


def test_a_third_party_adds_a_loss_and_a_relation() -> None:
    registry = Registry()
    registry.add(plugin("losses", ("zero", Zero)), "their-dist")
    diagonal = DirectionalPredicate("up_left_of", ("up and left of",), (-0.7, -0.7))
    registry.add(plugin("relations", ("up_left_of", diagonal), name="other"), "their-dist")
    assert registry.get("losses", "zero") is Zero
    assert registry.origin("losses", "zero").distribution == "their-dist"
    assert registry.relations()["up_left_of"] is diagonal


def test_duplicate_names_say_who_brought_them() -> None:
    registry = Registry()
    with pytest.raises(DuplicatePluginError) as error:
        registry.add(plugin("losses", ("alignment", Zero)), "their-dist")
    for part in ("'alignment' is registered twice", "'spatialguide'", "'their-dist'", "spatialguide_plugins.losses.alignment"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("kind", "item", "message"),
    [
        ("losses", ("zero", lambda: 0), "concrete subclass of spatialguide.LossTerm"),
        ("losses", ("zero", LossTerm), "concrete subclass"),
        ("losses", ("zero", Zero()), "concrete subclass"),
        ("losses", (7, Zero), "a name that is no text"),
        ("losses", ("", Zero), "a name that is no text"),
        ("losses", ("<b>zero</b>", Zero), "no plain word"),
        ("losses", ("zero one", Zero), "no plain word"),
        ("losses", ("zero\x1b[31m", Zero), "no plain word"),
        ("losses", ("zero\n", Zero), "no plain word"),
        ("losses", ("+zero", Zero), "no plain word"),
        ("losses", ("z" * 101, Zero), "no plain word"),
        ("losses", ("\u202eorez", Zero), "no plain word"),
        ("relations", ("near", object()), "must have name, phrases"),
        ("relations", ("near", DirectionalPredicate("far", ("far",), (1, 0))), "its own name is 'far': register it under that"),
        ("relations", ("near", DirectionalPredicate("near", "near", (1, 0))), "tuple of lower-case strings"),
        ("relations", ("near", DirectionalPredicate("near", ("Near",), (1, 0))), "tuple of lower-case strings"),
        ("parsers", ("p", 3), "can be called"),
        ("backends", ("b", None), "can be called"),
        ("detectors", ("d", "x"), "can be called"),
        ("presets", ("p", 3), "must be a dict"),
    ],
)
def test_wrong_registrations_are_named(kind: str, item: tuple[Any, Any], message: str) -> None:
    with pytest.raises(InvalidPluginError) as error:
        Registry(load_entry_points=False).add(plugin(kind, item), "their-dist")
    assert message in str(error.value)
    assert "plugin 'third_party' of distribution 'their-dist'" in str(error.value)


def test_a_hook_that_returns_something_is_refused() -> None:
    module = types.ModuleType("returns")
    module.spatialguide_losses = hookimpl(lambda register: {"zero": Zero})  # type: ignore[attr-defined]
    with pytest.raises(InvalidPluginError, match=r"must return nothing and call register"):
        Registry(load_entry_points=False).add(module, "their-dist")


def test_a_hook_that_raises_is_named() -> None:
    module = types.ModuleType("raises")
    module.spatialguide_losses = hookimpl(lambda register: 1 / 0)  # type: ignore[attr-defined]
    with pytest.raises(InvalidPluginError, match="'their-dist': hook spatialguide_losses raised ZeroDivisionError"):
        Registry(load_entry_points=False).add(module, "their-dist")


def test_a_hook_with_wrong_arguments_is_refused() -> None:
    module = types.ModuleType("arguments")
    module.spatialguide_losses = hookimpl(lambda registry_: None)  # type: ignore[attr-defined]
    with pytest.raises(InvalidPluginError, match="does not fit the hook specifications"):
        Registry(load_entry_points=False).add(module, "their-dist")


def test_a_misspelt_hook_names_the_nearest() -> None:
    module = types.ModuleType("misspelt")
    module.spatialguide_loses = hookimpl(lambda register: None)  # type: ignore[attr-defined]
    with pytest.raises(InvalidPluginError, match=r"unknown hook 'spatialguide_loses'. Did you mean 'spatialguide_losses'"):
        Registry(load_entry_points=False).add(module, "their-dist")


def test_a_module_without_hooks_is_refused() -> None:
    with pytest.raises(InvalidPluginError, match="implements no hook"):
        Registry(load_entry_points=False).add(types.ModuleType("empty"), "their-dist")


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        ({"evil": "import does_not_exist"}, "ModuleNotFoundError"),
        ({"evil": "1 / 0"}, "ZeroDivisionError"),
        ({}, "ModuleNotFoundError"),
    ],
)
def test_an_entry_point_that_fails_to_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cause: str
) -> None:
    install(tmp_path, "wicked = evil", **files)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    with pytest.raises(PluginImportError) as error:
        Registry()
    for part in ("wicked = evil", "evil-dist", cause):
        assert part in str(error.value)


def test_unknown_names_suggest_the_nearest(registry: Registry) -> None:
    with pytest.raises(UnknownPluginError, match=r"no backend is called 'tinny'. Did you mean 'tiny'"):
        registry.get("backends", "tinny")


def test_an_option_of_what_takes_none_is_refused() -> None:
    registry = Registry(load_entry_points=False)
    registry.add(plugin("detectors", ("blind", lambda: None)), "their-dist")
    registry.check_options("detectors", "blind", {})
    with pytest.raises(ConfigError, match=r"detector 'blind' has no option 'size'\. It has none: leave it out\."):
        registry.check_options("detectors", "blind", {"size": 3})


def test_registering_the_same_plugin_twice_is_harmless_or_clear() -> None:
    registry = Registry(load_entry_points=False)
    module = plugin("losses", ("zero", Zero))
    registry.add(module, "their-dist")
    with pytest.raises(InvalidPluginError, match="already registered"):
        registry.add(module, "their-dist")


def _leave_out(monkeypatch: pytest.MonkeyPatch, package: Any, endings: tuple[str, ...]) -> None:
    """As if these modules had been deleted."""
    modules = package.spatialguide_modules

    def kept(kind: str) -> list[str]:
        return [name for name in modules(kind) if not name.endswith(endings)]

    monkeypatch.setattr(package, "spatialguide_modules", hookimpl(kept))


def test_a_removed_plugin_file_breaks_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    import spatialguide_plugins

    _leave_out(monkeypatch, spatialguide_plugins, (".presence", ".tiny"))
    names = Registry()
    assert "presence" not in names.names("losses")
    assert {"alignment", "balance"} <= set(names.names("losses"))
    assert "tiny" not in names.names("backends")
    guide = SpatialGuide(registry=names)
    with pytest.warns(MissingTermWarning, match="presence are not installed: guiding with alignment, balance, placement"):
        assert list(guide.losses) == ["alignment", "balance", "placement"]
    assert guide.parse("a cat above a dog").relations[0].predicate == "above"
    with pytest.raises(UnknownPluginError, match="no backend is called 'tiny'"):
        guide("a cat above a dog")


def test_without_its_losses_the_default_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import spatialguide_plugins

    _leave_out(monkeypatch, spatialguide_plugins, (".alignment", ".presence", ".balance", ".placement"))
    with pytest.raises(UnknownPluginError, match="no loss is called 'alignment'"):
        SpatialGuide(registry=Registry(), steps=2)("a cat above a dog")


def test_default_registry_is_loaded_once() -> None:
    assert registry.default_registry() is registry.default_registry()


def test_a_parser_that_mixes_up_prompts_in_bulk_is_named() -> None:
    class Mixed:
        def __init__(self, relations: Any) -> None:
            self.own = SpacyParser(relations=relations)

        def __call__(self, prompt: str) -> Any:
            return self.own(prompt)

        def pipe(self, prompts: Any) -> Any:
            return reversed(list(map(self.own, prompts)))

    names = Registry()
    names.add(plugin("parsers", ("mixed", Mixed)))
    guide = SpatialGuide(registry=names, parser="mixed")
    first, second = guide.parse_many(["a cat above a dog", "a bus above a bird"])
    for parsed, other in ((first, "a bus above a bird"), (second, "a cat above a dog")):
        assert isinstance(parsed.problem, InvalidPluginError)
        assert f"returned the scene of another prompt: '{other}'" in str(parsed.problem)


def leave(*_: Any, **__: Any) -> Any:
    sys.exit(0)


def test_a_plugin_that_exits_as_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "evil = evil_exit", evil_exit="import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginImportError, match="distribution 'evil-dist' cannot be imported: SystemExit: 0"):
        Registry()


def test_a_hook_that_exits_is_named() -> None:
    module = types.ModuleType("evil")
    leave_hook = types.FunctionType(leave.__code__, globals(), "spatialguide_losses")
    module.spatialguide_losses = hookimpl(lambda register: leave_hook())  # type: ignore[attr-defined]
    with pytest.raises(InvalidPluginError, match="hook spatialguide_losses raised SystemExit: 0"):
        Registry().add(module, "evil-dist")


@pytest.mark.parametrize("kind", ["backends", "detectors", "parsers"])
def test_a_factory_that_exits_is_named(kind: str) -> None:
    registry = Registry()
    registry.add(plugin(kind, ("evil", lambda **_: leave())), "evil-dist")
    with pytest.raises(PluginError, match="'evil' of distribution 'evil-dist' raised SystemExit: 0"):
        registry.make(kind, "evil", {})
    with pytest.raises(PluginError, match="'evil' of distribution 'evil-dist' raised SystemExit: 0"):
        registry.call(kind, "evil", leave)


def test_parsers_backends_detectors_and_relations_that_exit_are_named() -> None:
    class Leaver(DirectionalPredicate):
        distance = leave

    class Model(Backend):
        generation = Generation(1, 1.0, 8, 8)
        load = layers = doubts = leave

    registry = Registry()
    registry.add(plugin("parsers", ("evil", lambda **_: leave)), "evil-dist")
    registry.add(plugin("backends", ("evil", Model), name="b"), "evil-dist")
    registry.add(plugin("detectors", ("evil", lambda: leave), name="d"), "evil-dist")
    registry.add(plugin("relations", ("evil", Leaver("evil", ("evil of",), (1, 0))), name="r"), "evil-dist")
    actions: list[Callable[[], Any]] = [
        lambda: SpatialGuide(parser="evil", registry=registry).parse("a cat"),
        lambda: SpatialGuide(backend="evil", registry=registry).pipeline,
        lambda: SpatialGuide(backend="evil", registry=registry)("a cat left of a dog"),
        lambda: make_detector(registry, "evil")([], []),
        lambda: SpatialGuide(registry=registry).plan(scene_from_triples("cat dog", [("cat", "evil", "dog")])).reach,
    ]
    for action in actions:
        with pytest.raises(PluginError, match=r"'evil'.* raised SystemExit"):
            action()
