"""docs/lineage.md is true: its commands run, and answer in the shape that the page shows.

The outputs on the page are written by this file:

    WINNOW_WRITE_DOCS=1 pytest tests/pipelines/test_lineage_docs.py

runs every `$ winnow …` line of a `console` block on the twice-built tiny graph and puts what it
printed under it. With WINNOW_DOCS_PROJECT=<folder> they run there instead, on that folder's
`.winnow` and the default recipe: so the page was written after `make demo`. A line `exit 1` at the
end of an output is its exit code.
"""

import os
import re
import shlex
from pathlib import Path

import pytest

from pipelines.cli_lineage import LINEAGE_EXAMPLES
from tests.pipelines.conftest import ROOT, Project

PAGE = ROOT / "docs" / "lineage.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WIDTH = 150


def commands(text: str) -> list[tuple[str, str]]:
    """(command line, what the page says it prints) of every console block."""
    found = []
    for block in _BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, said = part.partition("\n")
            found.append((line, said))
    return found


SHOWN = commands(PAGE.read_text(encoding="utf-8"))


def answer(project: Project, line: str) -> str:
    """What a command prints, with its exit code where it is not 0."""
    done = project.ask(*shlex.split(line)[1:])
    text = "\n".join(cut(x) for x in (done.stdout + done.stderr).rstrip().splitlines())
    return text + "\n" + (f"exit {done.returncode}\n" if done.returncode else "")


def cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def skeleton(text: str) -> list[str]:
    """The labels, titles and JSON keys of an answer, repeats once; what is measured is left out."""
    marks: list[str] = []
    for line in text.splitlines():
        if key := re.match(r'\s*"(\w+)":', line):
            mark = f'"{key[1]}"'
        elif re.match(r"[\w(]", line):
            mark = re.sub(
                r"\(\d+ of \d+\)|[0-9a-f]{12,}|\d[\d,]*", "#", re.split(r"\s{2,}|(?<=:)", line)[0]
            )
            mark = re.sub(r"^# rows?(, # shown)?$", "# rows", mark)
        else:
            continue
        if mark not in marks:
            marks.append(mark)
    return marks


@pytest.mark.skipif("WINNOW_WRITE_DOCS" not in os.environ, reason="writes docs/lineage.md")
def test_the_page_is_written_anew(request):
    folder = os.environ.get("WINNOW_DOCS_PROJECT")
    recipe = ROOT / "pipelines" / "recipes" / "in_car.yaml"
    project = Project(Path(folder), recipe) if folder else request.getfixturevalue("built")

    def fill(block: re.Match[str]) -> str:
        lines = [line for line, _ in commands(block[0])]
        said = "\n".join(f"$ {line}\n{answer(project, line)}" for line in lines)
        return f"```console\n{said}```"

    PAGE.write_text(_BLOCK.sub(fill, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(("line", "said"), SHOWN, ids=[line[15:50] for line, _ in SHOWN])
def test_a_command_answers_in_the_shape_the_page_shows(built, line: str, said: str):
    now = answer(built, line)
    exits = [re.search(r"^exit (\d)$", text, re.MULTILINE) for text in (now, said)]
    codes = [int(found[1]) if found else 0 for found in exits]
    assert codes[0] == codes[1], now
    if " why " in line:  # which sections a row has depends on the row
        assert {*skeleton(now)} <= {*skeleton(said)}
    else:
        assert skeleton(now) == skeleton(said)


def test_every_question_is_on_the_page():
    asked = {shlex.split(line)[2] for line, _ in SHOWN}
    assert asked == {name.split()[-1] for name in LINEAGE_EXAMPLES}


def test_the_skeleton_sees_a_missing_title_and_not_another_number():
    text = "verdict    promoted\ngate:\n  met  x\nrows (3 of 7):\n"
    assert skeleton(text) == skeleton(text.replace("3", "5").replace("promoted", "rejected"))
    assert skeleton(text) != skeleton(text.replace("gate:\n", ""))
