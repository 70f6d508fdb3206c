"""The documentation is true: its commands parse, its recipes load, its code runs, its tables match.

Nothing here knows what a page says; it reads the pages as a user would and tries what they show.
"""

import contextlib
import importlib
import inspect
import io
import json
import re
import shlex
import tomllib
import typing
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from assets.graph import build_stages
from assets.recipe import load_recipe
from assets.recipe_keys import EVALUATE, GIVEN, GIVEN_TO, KEYS, PLUGINS, SECTIONS
from curation.augmenters._llm_opinions import JudgeOptions
from curation.bad_cases import FIELDS
from curation.formats import read_record
from curation.ingest import read_source
from curation.llm_options import CallOptions
from curation.plugins import find_plugin, plugin_names
from curation.rows import make_row
from pipelines.cli import EXAMPLES, build_parser
from pipelines.paths import DEFAULT_RECIPE

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
PAGES = [*READMES, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CHANGELOG.md"]
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
REFERENCE = TEXT["docs/reference.md"]
ENVIRONMENT = {"MY_API_KEY": "not a real key"}
FILES = ("path", "folder", "synonyms", "verdicts", "vocabulary")
"""Options that name a file; a recipe in the docs is loaded beside empty files of these names."""
TITLES = {"Sources": "sources", "Tasks": "task", "Augmenters": "augment", "Scorers": "scorers"}
TITLES |= {"Metrics": "metrics", "Engines": "engine"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OPTION = re.compile(r"^\| `(\w+)` \| .+? \| (.+?) \| .+ \|$", re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """Contents of the fenced blocks of one language."""
    return [body for name, body in _FENCE.findall(text) if name == language]


def spans(text: str) -> list[str]:
    """Code in backticks within running text and tables."""
    return _SPAN.findall(_FENCE.sub("", text))


def shell_lines(text: str) -> list[list[str]]:
    """The lines of every `sh` block as words, without comments."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def parts(text: str, level: int) -> dict[str, str]:
    """Title -> what stands under it, down to the next title of the same level."""
    pieces = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def parse(words: list[str]) -> dict[str, Any] | None:
    """What the command line understands, None when it does not; nothing is executed."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return vars(build_parser().parse_args(words))
        except SystemExit as stop:
            return {} if stop.code == 0 else None


def load(said: dict[str, Any], folder: Path) -> Any:
    """The recipe as `load_recipe` reads it, beside empty files of the names it uses."""
    for name in _file_names(said):
        (folder / name).touch()
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    return load_recipe(recipe, environment=ENVIRONMENT)


def _file_names(said: Any) -> Iterator[str]:
    if isinstance(said, dict):
        for key, value in said.items():
            yield from [value] if key in FILES else _file_names(value)


RECIPE = yaml.safe_load(blocks(TEXT["README.md"], "yaml")[0])
YAML = [(page, block) for page, text in TEXT.items() for block in blocks(text, "yaml")]
SECTION_SPANS = [
    (page, span)
    for page, text in TEXT.items()
    for span in spans(text)
    if re.match(rf"(?:{'|'.join(KEYS)}): [{{\[]", span) and "…" not in span
    if page != "docs/extending.md"  # its recipes use the plug-ins that the page itself writes
]


@pytest.mark.parametrize(("page", "block"), [*YAML, *SECTION_SPANS])
def test_every_recipe_loads(page: str, block: str, tmp_path: Path):
    said = yaml.safe_load(block)
    recipe = load(said if "name" in said else RECIPE | said, tmp_path)
    makers = [recipe.task_plug, *recipe.scorers.values(), *recipe.metrics.values()]
    assert all(plug.make() for plug in makers)


def test_the_first_recipe_is_a_whole_one_in_both_languages():
    english, chinese = (yaml.safe_load(blocks(page.read_text(), "yaml")[0]) for page in READMES)
    assert english["name"] == "support" and len(english) >= 8
    assert english | {"task": ""} == chinese | {"task": ""}


@pytest.mark.parametrize("page", TEXT)
def test_every_command_parses(page: str):
    lines = [words[1:] for words in shell_lines(TEXT[page]) if words[0] == "winnow"]
    assert not [words for words in lines if parse(words) is None]


@pytest.mark.parametrize("page", TEXT)
def test_every_command_named_in_the_text_exists(page: str):
    named = [shlex.split(span)[1:] for span in spans(TEXT[page]) if span.startswith("winnow ")]
    bare = [words for words in named if parse(words) is None]  # without its arguments
    assert not [w for w in bare if any(p.startswith("-") for p in w) or parse([*w, "-h"]) is None]


def test_every_make_command_is_in_the_makefile():
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [words for text in TEXT.values() for words in shell_lines(text)]
    lines += [span.split() for text in TEXT.values() for span in spans(text)]
    named = {words[1] for words in lines if words[0] == "make"}
    assert {"demo", "test", "ui"} <= named <= targets


def test_every_command_stands_in_the_reference():
    commands = {" ".join(_command(example)) for example in EXAMPLES.values()}
    assert not [c for c in commands if f"| `{c}" not in REFERENCE]


def _command(example: str) -> list[str]:
    words = example.split()
    return words[: 3 if words[1] in ("lineage", "bad-cases", "reviews") else 2]


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_the_first_commands_stand_in_the_first_25_lines(readme: Path):
    top = readme.read_text(encoding="utf-8").splitlines()[:25]
    assert [line.split("#")[0].strip() for line in top if line.startswith("make ")] == [
        "make demo",
        "make test",
    ]


def test_both_readmes_have_the_same_sections_and_commands():
    english, chinese = (readme.read_text(encoding="utf-8") for readme in READMES)
    assert len(parts(english, 2)) == len(parts(chinese, 2))
    assert [name for name, _ in _FENCE.findall(english)] == [
        name for name, _ in _FENCE.findall(chinese)
    ]
    assert _without_text(english) == _without_text(chinese)
    assert set(_LINK.findall(english)) - {"README.zh.md"} == set(_LINK.findall(chinese)) - {
        "README.md"
    }


def _without_text(readme: str) -> list[Any]:
    """The commands; the words of a question about a row are in the language of the page."""
    lines = shell_lines(readme)
    parsed = [parse(words[1:]) if words[0] == "winnow" else words for words in lines]
    return [p | {"row": ""} if isinstance(p, dict) and "row" in p else p for p in parsed]


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_the_picture_shows_every_stage(readme: Path):
    (picture,) = blocks(readme.read_text(encoding="utf-8"), "mermaid")
    stages = {stage.name.partition("/")[0] for stage in build_stages(load_recipe(DEFAULT_RECIPE))}
    assert not [name for name in stages if not re.search(rf"\b{name}\b", picture)]
    assert {n for n in re.findall(r"\[(\w+_\w+)\]", picture)} <= stages


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_every_record_of_the_readme_is_accepted(readme: Path):
    forms, cases = [], 0
    for line in "".join(blocks(readme.read_text(encoding="utf-8"), "jsonl")).splitlines():
        record = json.loads(line)
        read = read_record(record)
        assert make_row(read["messages"], tools=read["tools"])["id"]
        cases += set(record) == set(FIELDS)
        forms.append(read["meta"]["form"])
    assert cases == 1
    assert set(forms) == {"messages", "alpaca", "sharegpt", "prompt_answer"}


@pytest.mark.parametrize("page", ["docs/extending.md", "docs/lineage.md"])
def test_every_python_block_runs(page: str):
    namespace: dict[str, Any] = {"__name__": "docs_example"}
    for number, block in enumerate(blocks(TEXT[page], "python")):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, f"{page} block {number}", "exec"), namespace)


def test_every_example_plug_in_is_found_by_its_file(tmp_path: Path, monkeypatch):
    files = [b for b in blocks(TEXT["docs/extending.md"], "python") if b.startswith("# ")]
    monkeypatch.syspath_prepend(str(tmp_path))
    kinds = set()
    for block in files:
        path = Path(block.splitlines()[0].removeprefix("# "))
        assert (ROOT / path.parent).is_dir() and path.stem in TEXT["docs/extending.md"]
        package = tmp_path / f"docs_{path.parent.name}"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / path.name).write_text(block, encoding="utf-8")
        assert find_plugin(package.name, path.stem).__name__ == path.stem
        kinds.add(path.parent.as_posix().replace("/", "."))
    assert kinds == set(PLUGINS.values())


PLUGGED = [(title, name) for title, kind in TITLES.items() for name in plugin_names(PLUGINS[kind])]


@pytest.mark.parametrize(("title", "name"), PLUGGED)
def test_every_plug_in_stands_in_the_reference_with_its_options(title: str, name: str):
    entry = parts(parts(REFERENCE, 2)[title], 3)[name]
    assert dict(_OPTION.findall(entry)) == options(find_plugin(PLUGINS[TITLES[title]], name))


def test_the_reference_names_no_plug_in_that_there_is_not():
    named = {(t, name) for t in TITLES for name in parts(parts(REFERENCE, 2)[t], 3)}
    assert named == {*PLUGGED, ("Sources", "Every source")}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_stands_in_the_reference_with_its_options(section: str):
    module, _, name = SECTIONS[section].partition(":")
    given = GIVEN | GIVEN_TO.get(section, set())
    entry = parts(parts(REFERENCE, 2)["Sections"], 3)[section]
    function = getattr(importlib.import_module(module), name)
    assert f"`{module}.{name}`" in entry
    assert dict(_OPTION.findall(entry)) == options(function, given)


def test_what_all_sources_share_stands_in_the_reference():
    entry = parts(parts(REFERENCE, 2)["Sources"], 3)["Every source"]
    given = {"source", "system", "key", "put_texts", "report"}
    assert dict(_OPTION.findall(entry)) == options(read_source, given)


def test_the_options_of_calls_and_of_the_judge_stand_in_the_reference_with_their_defaults():
    entry = parts(REFERENCE, 2)["Language-model calls"]
    assert dict(_OPTION.findall(entry)) == options(CallOptions)
    judge = parts(REFERENCE, 2)["A judge of written rows"]
    assert dict(_OPTION.findall(judge)) == options(JudgeOptions)


def test_evaluate_stands_in_the_reference_with_its_defaults(tmp_path: Path):
    said = dict(_OPTION.findall(parts(REFERENCE, 2)["Evaluate"]))
    recipe = load({k: v for k, v in RECIPE.items() if k != "evaluate"}, tmp_path)
    values = {**recipe.evaluate, "metrics": f"[{', '.join(recipe.metrics)}]"}
    values["slices"] = [*recipe.slices]
    assert said.keys() == EVALUATE and recipe.main_metric == next(iter(recipe.metrics))
    assert said == {k: f"`{v}`" for k, v in values.items()} | {"main": "the first of `metrics`"}


def test_every_variable_of_the_environment_is_explained():
    code = (ROOT / "pipelines" / "paths.py").read_text()
    assert not [name for name in re.findall(r"WINNOW_\w+", code) if f"| `{name}`" not in REFERENCE]


def options(function: Callable[..., Any], given: set[str] = frozenset()) -> dict[str, str]:  # type: ignore[assignment]
    """Option -> its default as the tables write it."""
    typing.get_type_hints(function)  # the annotations can be read at all
    found = inspect.signature(function).parameters.values()
    return {p.name: _shown(p) for p in found if p.kind is p.KEYWORD_ONLY and p.name not in given}


def _shown(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is parameter.empty:
        return "required"
    if value is None:
        return "–"
    if isinstance(value, str):
        return f"`{value}`" if value.replace("_", "").isalnum() or "/" in value else _quoted(value)
    if isinstance(value, float):
        return f"`{value:g}`"
    if is_dataclass(value):
        return "`{}`"
    return f"`{json.dumps(value)}`"


def _quoted(value: str) -> str:
    return f"`{value}`" if "-" in value else f'`"{value}"`'


@pytest.mark.parametrize("page", TEXT)
def test_no_link_is_broken(page: str):
    folder = (ROOT / page).parent
    for link in _LINK.findall(_FENCE.sub("", TEXT[page])):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (folder / name).resolve() if name else ROOT / page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_slug, titles), link


def _slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", TEXT)
def test_every_file_that_is_named_exists(page: str):
    named = {s for s in spans(TEXT[page]) if re.fullmatch(r"(?:\w+/)+\w+\.(?:py|yaml|md)", s)}
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_changelog_begins_with_the_present_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", TEXT["CHANGELOG.md"], re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert versions[0] == project["version"]


@pytest.mark.parametrize("page", TEXT)
def test_no_page_names_a_folder_of_one_machine(page: str):
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users)/", TEXT[page])


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_the_demo_report_has_its_place(readme: Path):
    text = readme.read_text(encoding="utf-8")
    (inside,) = re.findall(r"<!-- demo:begin -->\n(.*?)<!-- demo:end -->", text, re.DOTALL)
    assert len(blocks(inside, "")) == 1
