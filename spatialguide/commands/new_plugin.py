"""`spatialguide new-plugin`: a package of one plugin that installs, with a test that passes."""

from __future__ import annotations

import keyword
import os
import re
import sys
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from string import Template

from spatialguide.errors import OutputError
from spatialguide.files import filled, make_folder, write_text
from spatialguide.registry import default_registry

TEMPLATES = resources.files("spatialguide.commands") / "templates"
#: What can be made, and a command that shows it at work.
KINDS = {
    "loss": 'spatialguide generate "a cat to the left of a dog" --set losses.$name={}',
    "relation": 'spatialguide parse "a cat far away from a dog"',
    "parser": 'spatialguide parse "cat > dog" --parser $name',
    "backend": 'spatialguide generate "a cat to the left of a dog" --backend $name',
    "detector": 'spatialguide generate "a cat to the left of a dog" --compare --set detector=$name',
}


def new_plugin(name: str, kind: str, parent: Path) -> list[Path]:
    """Write the package into a new folder `name` of `parent`.

    Args:
        name: of the folder, the distribution and, with underscores, the module and the plugin.
        kind: one of KINDS.

    Returns:
        The files.

    Raises:
        OutputError: the name makes no module or is taken, the kind is unknown, or the folder is there already.
    """
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", module) or keyword.iskeyword(module):
        raise OutputError(f"'{name}' makes no module: take lower-case letters, digits and hyphens, such as my-loss")
    if kind not in KINDS:
        raise OutputError(f"no kind of plugin is called '{kind}'. Known: {', '.join(KINDS)}")
    _refuse_taken(name, module, kind)
    folder = parent / name
    if os.path.lexists(folder):
        raise OutputError(f"'{folder}' is there already: take another name")
    words = {
        "name": module,
        "module": module,
        "distribution": name,
        "kind": kind,
        "class_name": "".join(part.capitalize() for part in module.split("_")),
        "try_it": Template(KINDS[kind]).substitute(name=module),
    }
    sources = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{module}.py": f"{kind}.py",
        f"tests/test_{module}.py": f"test_{kind}.py",
    }
    with filled(folder) as draft:
        for target, source in sources.items():
            text = (TEMPLATES / f"{source}.txt").read_text(encoding="utf-8")
            make_folder((draft / target).parent)
            write_text(draft / target, Template(text).substitute(words))
    return [folder / target for target in sources]


def _refuse_taken(name: str, module: str, kind: str) -> None:
    """Raise OutputError for the name of another plugin of the kind, of another module, or of another distribution."""
    kinds = {"loss": "losses"}.get(kind, f"{kind}s")
    other = f"take another name, such as my-{module.replace('_', '-')}"
    if module in default_registry().names(kinds):
        raise OutputError(f"there is a {kind} '{module}' already: {other}")
    if module in sys.stdlib_module_names or module in packages_distributions() or _has_code(module):
        raise OutputError(f"'{module}' would hide the module of that name: {other}")
    try:
        distribution(name)
    except PackageNotFoundError:
        return
    raise OutputError(f"a distribution '{name}' is installed, and installing yours would remove it: {other}")


def _has_code(module: str) -> bool:
    """Whether a module can be imported; a folder without code in it is found too, and is none."""
    found = find_spec(module)
    return found is not None and found.origin is not None
