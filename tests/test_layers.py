"""The house is built as docs and design say: imports point down, and every file is small."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("assets", "curation", "evaluation", "pipelines", "training")
MAY_IMPORT = {
    "curation": set(),
    "training": {"curation"},
    "evaluation": {"curation"},
    "assets": {"curation", "training", "evaluation"},
    "pipelines": {"curation", "training", "evaluation", "assets"},
}
DAGSTER = ("assets", "pipelines")
TOP_LEVEL = {
    *PACKAGES, "tests", "benchmarks", "docs", "pyproject.toml", "requirements.lock", "README.md",
    "README.zh.md", "CHANGELOG.md", "LICENSE", "Makefile", "dagster.yaml", ".ci", ".gitignore",
}  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down(package: str):
    forbidden = set(PACKAGES) - MAY_IMPORT[package] - {package}
    assert not [use for use in _uses(package) if use[1].partition(".")[0] in forbidden]


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - set(DAGSTER)))
def test_only_assets_and_pipelines_know_dagster(package: str):
    assert not [use for use in _uses(package) if use[1].startswith("dagster")]


def test_nothing_that_is_shipped_imports_the_tests_or_benchmarks():
    shipped = [use for package in PACKAGES for use in _uses(package)]
    assert not [use for use in shipped if use[1].partition(".")[0] in ("tests", "benchmarks")]


def test_no_file_is_longer_than_400_lines():
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py"), *_files(*PACKAGES)]
    lengths = {str(f.relative_to(ROOT)): len(f.read_text("utf-8").splitlines()) for f in files}
    assert not {name: n for name, n in lengths.items() if n > 400}


def test_every_file_of_the_packages_opens_with_a_docstring():
    bare = [f for f in _files(*PACKAGES) if f.read_text("utf-8").strip() and not _docstring(f)]
    assert not bare


def test_the_wheel_lists_exactly_the_five_packages():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert sorted(tool["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(PACKAGES)
    assert {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests"} == set(PACKAGES)


def test_top_level_holds_nothing_but_the_house():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name.partition("/")[0] for name in listed.stdout.splitlines()} == TOP_LEVEL


def _files(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def _uses(package: str) -> Iterator[tuple[str, str]]:
    """(file:line, imported module) for every import, those inside functions too."""
    for path in _files(package):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", name


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text("utf-8")))
