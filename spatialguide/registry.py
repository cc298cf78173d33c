"""The registry: finds plugins through entry points, checks what they register, and says where each thing came from."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any

import pluggy

from spatialguide import hookspecs
from spatialguide.contracts import LossTerm, Predicate, Steering
from spatialguide.errors import (
    ConfigError,
    DuplicatePluginError,
    InvalidPluginError,
    PluginError,
    PluginImportError,
    SpatialGuideError,
    UnknownPluginError,
    suggestion,
)


@dataclass(frozen=True)
class Registered:
    """One registered thing: its kind, name, value, and the distribution and module that brought it."""

    kind: str
    name: str
    value: Any
    distribution: str
    module: str


def _check_class(base: type, what: str, name: str, value: Any) -> str | None:
    if isinstance(value, type) and issubclass(value, base) and not inspect.isabstract(value):
        return None
    return f"a {what} must be a concrete subclass of spatialguide.{base.__name__}"


def _check_relation(name: str, value: Any) -> str | None:
    if not isinstance(value, Predicate) or isinstance(value, type):
        return "a relation must have name, phrases, grounds, converse, direction and distance() (spatialguide.Predicate)"
    if value.name != name:
        return f"its own name is '{value.name}': register it under that"
    if not isinstance(value.phrases, (tuple, list, set, frozenset)) or not all(map(_is_phrase, value.phrases)):
        return "phrases must be a tuple of lower-case strings, none of them blank"
    if type(value.grounds) is not int or value.grounds < 0:
        return f"grounds must be a number of objects, not {value.grounds!r}"
    direction = value.direction
    if direction is not None and (len(direction) != 2 or not all(isinstance(part, (int, float)) for part in direction)):
        return f"direction must be None or two numbers (x, y), not {direction!r}"
    return None


def _is_phrase(phrase: Any) -> bool:
    return isinstance(phrase, str) and bool(phrase.strip()) and phrase == phrase.lower()


def _check_factory(name: str, value: Any) -> str | None:
    return None if callable(value) else "it must be a class or a factory, something that can be called"


def _check_preset(name: str, value: Any) -> str | None:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return None
    return "a preset must be a dict of keys of the configuration, as a YAML file has them"


def _check_facts(name: str, value: Any) -> str | None:
    from spatialguide.guidance.models import ModelFacts

    if not isinstance(value, ModelFacts):
        return "a model must be a spatialguide.guidance.models.ModelFacts"
    return None if value.denoiser == name else f"its denoiser is '{value.denoiser}': register it under that"


_CHECKS: dict[str, Callable[[str, Any], str | None]] = {
    "losses": partial(_check_class, LossTerm, "loss"),
    "steerings": partial(_check_class, Steering, "steering"),
    "relations": _check_relation,
    "parsers": _check_factory,
    "backends": _check_factory,
    "models": _check_facts,
    "detectors": _check_factory,
    "benchmarks": _check_factory,
    "features": _check_factory,
    "presets": _check_preset,
}
#: Names are printed, shown on pages and typed by people.
_NAME = re.compile(r"\w[\w.:-]{0,99}")
KINDS = tuple(_CHECKS)
SINGULAR = {kind: kind.removesuffix("s") for kind in KINDS} | {"losses": "loss", "features": "feature extractor"}


class Registry:
    """Everything that plugins registered, by kind and name.

    A kind is loaded when it is first asked for: asking for relations imports no loss.

    Args:
        load_entry_points: read the installed distributions' entry points; tests switch it off.
    """

    def __init__(self, load_entry_points: bool = True) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._items: dict[str, dict[str, Registered]] = {kind: {} for kind in KINDS}
        self._distributions: dict[Any, str] = {}
        self._loaded: set[str] = set() if load_entry_points else set(KINDS)
        self._collected: set[tuple[Any, str]] = set()
        self._lock = RLock()
        if load_entry_points:
            for entry in sorted(entry_points(group=hookspecs.GROUP), key=lambda e: (_distribution(e), e.name)):
                source = _distribution(entry)
                self._adopt(_imported(entry.load, f"{entry.name} = {entry.value}", source), source)

    def add(self, plugin: Any, distribution: str = "(this program)") -> None:
        """Register a plugin: a module or object with hook implementations.

        Raises:
            InvalidPluginError: it has no hook implementation, a hook has the wrong arguments, raises, or registers
                something that the contract does not allow.
            DuplicatePluginError: it registers a name that is taken.
            PluginImportError: it names a module that cannot be imported.
        """
        for kind in self._adopt(plugin, distribution):
            self._of(kind)
            self._collect(plugin, kind)

    def _adopt(self, plugin: Any, distribution: str) -> list[str]:
        """Check a plugin's hooks; the kinds that it has hooks for."""
        where = _where(plugin, distribution)
        try:
            if self._manager.register(plugin) is None:
                return []
        except (pluggy.PluginValidationError, ValueError) as error:
            raise InvalidPluginError(
                f"{where} does not fit the hook specifications: {error}; compare spatialguide.hookspecs"
            ) from error
        unknown = [name for name in dir(plugin) if name.startswith("spatialguide_") and self._is_unknown_hook(plugin, name)]
        if unknown:
            known = [f"spatialguide_{kind}" for kind in KINDS]
            raise InvalidPluginError(f"{where} implements an unknown hook '{unknown[0]}'.{suggestion(unknown[0], known)}")
        hooks = {caller.name for caller in self._manager.get_hookcallers(plugin) or ()}
        if not hooks:
            raise InvalidPluginError(f"{where} implements no hook: decorate its functions with @spatialguide.hookimpl")
        self._distributions[plugin] = distribution
        return [kind for kind in KINDS if f"spatialguide_{kind}" in hooks or "spatialguide_modules" in hooks]

    def _of(self, kind: str) -> dict[str, Registered]:
        """What is registered of a kind, by name."""
        with self._lock:
            if kind not in self._loaded:
                self._loaded.add(kind)
                try:
                    for plugin in list(self._distributions):
                        self._collect(plugin, kind)
                except SpatialGuideError:
                    self._loaded.discard(kind)
                    self._items[kind].clear()
                    self._collected -= {(plugin, kind) for plugin in self._distributions}
                    raise
        return self._items[kind]

    def _collect(self, plugin: Any, kind: str) -> None:
        """Call a plugin's hook for a kind, and those of the modules that it names; once."""
        if (plugin, kind) in self._collected:
            return
        self._collected.add((plugin, kind))
        distribution = self._distributions[plugin]
        where = _where(plugin, distribution)

        def register(name: str, value: Any) -> None:
            self._register(Registered(kind, name, value, distribution, _name(plugin)), where)

        hook = f"spatialguide_{kind}"
        returned = self._call(plugin, hook, where, register=register)
        if returned is not None:
            raise InvalidPluginError(
                f"{where}: hook {hook} returned {returned!r}; it must return nothing and call register(name, value)"
            )
        names = self._call(plugin, "spatialguide_modules", where, kind=kind) or ()
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise InvalidPluginError(
                f"{where}: hook spatialguide_modules returned {names!r}; it must return a list of module names"
            )
        for name in names:
            module = _imported(partial(importlib.import_module, name), name, distribution)
            if module not in self._distributions:
                self._adopt(module, distribution)
            self._collect(module, kind)

    def _is_unknown_hook(self, plugin: Any, name: str) -> bool:
        marked = self._manager.parse_hookimpl_opts(plugin, name) is not None
        return marked and not hasattr(hookspecs, name)

    def _call(self, plugin: Any, hook: str, where: str, **arguments: Any) -> Any:
        """What one plugin's hook returns; None where it has none."""
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        try:
            results = self._manager.subset_hook_caller(hook, others)(**arguments)
        except (InvalidPluginError, DuplicatePluginError, PluginImportError):
            raise
        except (Exception, SystemExit) as error:
            raise InvalidPluginError(
                f"{where}: hook {hook} raised {type(error).__name__}: {error}; repair or uninstall it"
            ) from error
        return results[0] if results else None

    def _register(self, item: Registered, where: str) -> None:
        if not isinstance(item.name, str) or not item.name:
            raise InvalidPluginError(f"{where} registered a name that is no text: {item.name!r}; name it with a string")
        if not _NAME.fullmatch(item.name):
            raise InvalidPluginError(
                f"{where} registered {item.kind} under a name that is no plain word: {item.name!r:.120}; take at most 100 "
                "letters, digits and _ - . :"
            )
        fault = _CHECKS[item.kind](item.name, item.value)
        if fault:
            raise InvalidPluginError(f"{where} registered {item.kind} '{item.name}' wrongly: {fault}")
        taken = self._items[item.kind].get(item.name)
        if taken:
            raise DuplicatePluginError(
                f"{item.kind} '{item.name}' is registered twice: by '{taken.module}' of distribution "
                f"'{taken.distribution}' and by '{item.module}' of distribution '{item.distribution}'. Uninstall or rename one."
            )
        self._items[item.kind][item.name] = item

    def get(self, kind: str, name: str) -> Any:
        """The registered value.

        Raises:
            UnknownPluginError: nothing of this kind has the name; the message names the nearest.
        """
        if name not in self._of(kind):
            raise UnknownPluginError(f"no {SINGULAR[kind]} is called '{name}'.{suggestion(name, self._of(kind))}")
        return self._of(kind)[name].value

    def origin(self, kind: str, name: str) -> Registered:
        """Where a registered thing came from."""
        self.get(kind, name)
        return self._of(kind)[name]

    def call(self, kind: str, name: str, action: Callable[[], Any]) -> Any:
        """Call into a plugin; an error that is not ours is reported with the plugin's name and distribution.

        Raises:
            PluginError: the plugin raised something else than a SpatialGuideError.
        """
        try:
            return action()
        except SpatialGuideError:
            raise
        except (Exception, SystemExit) as error:
            source = self.origin(kind, name).distribution
            fault = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"{SINGULAR[kind]} '{name}' of distribution '{source}' raised {fault}; repair it, or choose another"
            ) from error

    def make(self, kind: str, name: str, options: Mapping[str, Any]) -> Any:
        """Build a plugin from its factory.

        Args:
            options: keyword arguments of the factory.

        Raises:
            UnknownPluginError: there is none of this name.
            ConfigError: the factory has no such option; the message names the nearest one.
            PluginError: it cannot be built.
        """
        self.check_options(kind, name, options)
        factory = self.get(kind, name)
        return self.call(kind, name, lambda: factory(**options))

    def check_options(self, kind: str, name: str, options: Iterable[str]) -> None:
        """Check the names of a factory's options, and build nothing.

        Raises:
            UnknownPluginError, ConfigError: as `make`.
        """
        factory = self.get(kind, name)
        try:
            known = inspect.signature(factory).parameters
        except (TypeError, ValueError):  # some callables of C tell nothing
            return
        free = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
        for option in options if not free else ():
            if option not in known:
                advice = suggestion(option, known) or " It has none: leave it out."
                raise ConfigError(f"{SINGULAR[kind]} '{name}' has no option '{option}'.{advice}")

    def names(self, kind: str) -> tuple[str, ...]:
        """Registered names of one kind."""
        return tuple(self._of(kind))

    def relations(self) -> Mapping[str, Predicate]:
        """Predicate plugins by predicate name."""
        return {name: item.value for name, item in self._of("relations").items()}

    def __iter__(self) -> Iterator[Registered]:
        """Everything, by kind and then in order of registration."""
        return (item for kind in KINDS for item in self._of(kind).values())


def _name(plugin: Any) -> str:
    name: str = getattr(plugin, "__name__", type(plugin).__name__)
    return name


def _where(plugin: Any, distribution: str) -> str:
    return f"plugin '{_name(plugin)}' of distribution '{distribution}'"


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "(unknown)"


def _imported(load: Callable[[], Any], name: str, distribution: str) -> Any:
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise PluginImportError(
            f"plugin '{name}' of distribution '{distribution}' cannot be imported: {type(error).__name__}: {error}. "
            f"Repair or uninstall '{distribution}'."
        ) from error


@lru_cache(maxsize=1)
def default_registry() -> Registry:
    """The registry of all installed plugins, loaded once per process."""
    return Registry()
