"""requirements.lock answers for pyproject.toml, and the environment at hand is what it says."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(line)
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
]
GPU_ONLY = ("cuda", "nvidia", "triton")
PACKAGES = ("assets", "curation", "evaluation", "pipelines", "training")


def test_every_direct_dependency_is_locked_inside_its_range():
    locked = {canonicalize_name(pin.name): _pinned(pin) for pin in _lock() if _applies(pin)}
    wrong = [r for r in DIRECT if not r.specifier.contains(locked[canonicalize_name(r.name)])]
    assert not wrong


def test_every_range_has_a_lower_and_an_upper_bound():
    open_ended = [
        str(r)
        for r in DIRECT
        if {s.operator for s in r.specifier} != {">=", "<"} or len(r.specifier) != 2
    ]
    assert not open_ended


def test_the_lock_has_one_exact_version_for_each_python():
    for python in ("3.11", "3.12", "3.13"):
        full = {"python_version": python, "python_full_version": f"{python}.0"}
        names = [canonicalize_name(r.name) for r in _lock() if _applies(r, **full)]
        assert len(names) == len(set(names))
        assert {canonicalize_name(r.name) for r in DIRECT} <= set(names)


def test_the_lock_is_complete():
    # Where a locked package is installed, what it needs in turn is locked too.
    locked = {canonicalize_name(r.name) for r in _lock() if _applies(r)}
    needed = {
        canonicalize_name(r.name)
        for distribution in distributions()
        if canonicalize_name(distribution.name) in locked
        for r in map(Requirement, distribution.requires or ())
        if _applies(r, extra="") and not r.name.startswith(GPU_ONLY)
    }
    assert not needed - locked


def test_the_lock_brings_no_gpu_packages():
    # torch pins them itself where its GPU build is installed; here they would force that build.
    assert not [str(r) for r in _lock() if r.name.startswith(GPU_ONLY)]
    torch = next(r for r in _lock() if r.name == "torch")
    assert _pinned(torch).local is None


def test_what_is_installed_is_what_is_locked():
    # The part after "+" names a build of the same release, such as torch's for CPUs.
    here = {canonicalize_name(d.name): Version(d.version).public for d in distributions()}
    locked = {canonicalize_name(r.name): _pinned(r).public for r in _lock() if _applies(r)}
    different = {
        name: (here.get(name), pin) for name, pin in locked.items() if here.get(name) != pin
    }
    assert not different, "installed and locked differ: run `make setup`"


def test_dagster_and_its_tools_are_of_one_version():
    names = ("dagster", "dagster-webserver", "dagster-dg-cli")
    assert len({str(_pinned(r)) for r in _lock() if r.name in names}) == 1
    assert len({str(r.specifier) for r in DIRECT if r.name in names}) == 1


def test_every_imported_package_is_a_declared_dependency():
    extras = {k: v for k, v in PROJECT["optional-dependencies"].items() if k != "dev"}
    given = [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]
    declared = {canonicalize_name(r.name) for r in map(Requirement, given)}
    providers = packages_distributions()
    undeclared = {
        f"{module} in {path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for module in _imports(path)
        if module not in sys.stdlib_module_names and module not in PACKAGES
        if not {canonicalize_name(d) for d in providers.get(module, [module])} & declared
    }
    assert not undeclared


def _lock() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(re.sub(r"\s+#.*", "", line)) for line in lines]


def _pinned(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return Version(specifier.version)


def _applies(requirement: Requirement, **environment: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]
