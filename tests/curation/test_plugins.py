"""Plug-ins: a signature is a schema, and a mistake in a section is one line."""

from pathlib import Path
from typing import Literal

import pytest

from curation.plugins import Secret, check_options, find_plugin, plugin_names, takes_secret


def options(
    rows,
    *,
    path: Path,
    n: int = 1,
    share: float = 0.5,
    kind: Literal["a", "b"] = "a",
    words: list[str] | None = None,
    api_key: Secret = Secret("SOME_KEY"),  # noqa: B008
): ...


def check(section, **rest):
    return check_options(
        options,
        section,
        where="here",
        base=Path(__file__).parent,
        environment={"SOME_KEY": "x"},
        **rest,
    )


def test_a_right_section_becomes_arguments_with_resolved_paths():
    arguments, errors = check({"path": Path(__file__).name, "n": 3, "share": 1, "words": ["x"]})
    assert not errors
    assert arguments["path"] == Path(__file__) and arguments["share"] == 1.0


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"path": Path(__file__).name, "shar": 1}, "unknown key 'shar' (did you mean 'share'?)"),
        ({}, "'path' is missing"),
        ({"path": "no_such_file"}, "file 'no_such_file' does not exist"),
        ({"path": Path(__file__).name, "n": "three"}, "expected a whole number, got 'three'"),
        ({"path": Path(__file__).name, "n": True}, "expected a whole number, got True"),
        ({"path": Path(__file__).name, "kind": "c"}, "'c' is not known"),
        ({"path": Path(__file__).name, "words": "x"}, "expected a list, got 'x'"),
        ({"path": Path(__file__).name, "api_key": "sk-123"}, "name the environment variable"),
        ({"path": Path(__file__).name, "api_key": "OTHER"}, "variable OTHER is not set"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(section, said):
    _, errors = check(section)
    assert len(errors) == 1 and errors[0].startswith("here") and said in errors[0]


def test_a_secret_that_is_unset_by_default_is_said():
    errors = check_options(options, {"path": __file__}, where="x", environment={})[1]
    assert errors == ["x.api_key: the environment variable SOME_KEY is not set; export SOME_KEY=…"]


def test_an_unknown_plugin_is_answered_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'jsonl'"):
        find_plugin("curation.sources", "jsonnl")


@pytest.mark.parametrize(
    "folder",
    [
        "curation.sources",
        "curation.scorers",
        "curation.tasks",
        "curation.augmenters",
        "evaluation.metrics",
    ],
)
def test_every_plugin_file_has_a_factory(folder):
    assert plugin_names(folder)
    for name in plugin_names(folder):
        assert callable(find_plugin(folder, name))


def test_a_plug_in_that_takes_a_secret_says_so():
    assert takes_secret(find_plugin("curation.scorers", "llm_judge"))
    assert not takes_secret(find_plugin("curation.scorers", "guard_model"))
