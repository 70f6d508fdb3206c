"""What stands in a row arrives in a report as its letters: no tag, no link, no further cell."""

import csv as table_format
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from assets.evaluate import metrics_table
from assets.graph import build_stages
from assets.io import describe
from assets.recipe import load_recipe
from assets.stage import Job, Outcome, run_stage
from curation.export import CSV_COLUMNS, export_rows
from curation.ingest import read_source
from curation.lineage.card import model_card
from curation.markdown import plain, table
from curation.rows import dialogue, make_row, rows_frame
from curation.sources.csv import csv
from curation.store import Made, Store
from evaluation.fairness import gaps_table
from evaluation.forgetting import general_table

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b || c",
    "\\| \\\\| trailing \\",
    "`code` ```\n<b>fence</b>\n``` ~~~",
    "[x](javascript:alert(1))",
    "![x](http://169.254.169.254/beacon.png)",
    "<javascript:alert(1)> <http://a.example> www.a.example http://a.example a@b.example",
    "[x]: http://a.example\n\n[x] [x][] [^1]",
    "# 标题\n- 列表\n> 引用\n1. 一\n---\n| a |\n|---|",
    "**粗** _斜_ ~~删~~ $x$ :smile: &lt;b&gt; &#60;b&#62; &copy;",
    "<!-- -->]]><style>*{}</style><svg/onload=alert(1)>",
    "＜script＞ “引号” 和中文，标点。",
]
HARMLESS_TAGS = {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code"}


class Shown(HTMLParser):
    """The tags and attributes of a page, and its text by table cell or paragraph."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.texts = [text.strip("\n") for text in self.texts]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data


def render(markdown: str) -> Shown:
    """Markdown as a renderer that lets HTML through would show it."""
    shown = Shown(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    assert shown.tags <= HARMLESS_TAGS, shown.tags
    assert shown.attributes <= {"style"}
    return shown


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_shows_the_letters_and_nothing_else(text):
    wanted = text.replace("\n", "⏎")
    assert render(plain(text)).texts == [wanted]
    cells = render(table(["a", "b"], [[plain(text), plain(text)]])).texts
    assert cells[-2:] == [wanted, wanted]
    assert render(f"- {plain(text)}: 1").texts[-1] == f"{wanted}: 1"


def test_the_test_sees_what_is_not_inert():
    for text in HOSTILE[:2] + HOSTILE[4:5] + HOSTILE[6:8]:
        with pytest.raises(AssertionError):
            assert render(text).texts == [text]


def test_a_cut_never_ends_inside_an_entity():
    for longest in range(1, 40):
        assert render(plain("<b>" * 20, longest=longest)).texts == [("<b>" * 20)[:longest] + "…"]


def test_a_character_that_turns_text_around_is_shown_by_its_number():
    assert plain("a\u202eb\x00") == "aU+202EbU+0000"


def hostile_stages(folder: Path) -> list[Outcome]:
    """The ingest stages of a recipe whose source holds hostile rows, roles and keys."""
    rows: list[dict[str, Any]] = [{"prompt": text, "answer": text} for text in HOSTILE]
    rows += [{"messages": [{"role": text, "content": "x"}]} for text in HOSTILE]
    rows += [{text: 1} for text in HOSTILE]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    said = {"name": "r", "sources": {"s": {"use": "jsonl", "path": "rows.jsonl"}}}
    said["train"] = {"base_model": "demo"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(said))
    recipe = load_recipe(folder / "recipe.yaml", environment={})
    job = Job(recipe, Store(folder / "s"))
    stages = {stage.name: stage for stage in build_stages(recipe)}
    return [run_stage(job, stages[name]) for name in ("sources/s", "rows")]


def test_metadata_of_hostile_rows_is_inert_and_complete(tmp_path):
    for outcome in hostile_stages(tmp_path):
        metadata = describe(outcome)
        pages = {k: v.value for k, v in metadata.items() if type(v).__name__.startswith("Markdown")}
        assert {"preview", "fates", "tables"} <= set(pages)
        shown = {name: render(page) for name, page in pages.items()}
        fates = "".join(shown["fates"].texts)
        refused = outcome.version.name != "r/rows"  # which only merges what the source made of it
        assert "new" in fates and refused == ("quarantined" in fates and "<script>" in fates)
        assert (
            len(shown["preview"].texts) == 4 + 5 + 6 * 5
        )  # frame, rows, head and five rows of five


def test_a_text_value_of_a_stage_is_shown_as_text(tmp_path):
    store = Store(tmp_path)
    made = Made(values={"note": "line\n<script>", "table": "| a |\n|---|\n"})
    metadata = describe(Outcome(store.write_version("r/x", made, inputs={}, how={}), False, 0.0))
    assert metadata["note"] == "line\n<script>" and metadata["table"].value.startswith("| a |")


def test_a_model_card_of_hostile_names_is_inert():
    arm = {name: 0.5 for name in HOSTILE}
    part = {"n": 20, "mean": 0.5, "low": 0.4, "high": 0.6}
    gaps = [
        {"label": text, "gap": 0.1, "p": 0.5, "parts": [part | {"value": text}]} for text in HOSTILE
    ]
    general = [
        {"category": text, "n": 1, "asked": 0, "arms": {"base": {"bpb": 0.5}}} for text in HOSTILE
    ]
    values = {
        "number": 1,
        "id": "0" * 32,
        "promoted": True,
        "metrics": {"candidate": arm, **{text: arm for text in HOSTILE}},
        "verdict": {"rules": [(text, True, text) for text in HOSTILE]},
        "failed_heldout": 0,
        "training": HOSTILE,
        "bad_case_table": "",
        "gaps_table": gaps_table(gaps, metric=HOSTILE[0]),
        "general_table": general_table(general),
        "lineage": {
            "n_rows": 1,
            "n_distinct": 1,
            "bad_cases_learned": 0,
            "bad_cases_held": 0,
            "mix": {},
            "fates": {"kept_rows": dict.fromkeys(HOSTILE, 1)},
            "sources": {
                text: {"split": "train", "license": text, "revision": text, "delivered": 1,
                       "direct": 1, "through": 0, "pretrained": False}
                for text in HOSTILE
            },
        },
    }  # fmt: skip
    metrics = metrics_table(values["metrics"])
    page = render(model_card("r", values, base_model=HOSTILE[0], metrics=metrics))
    for text in HOSTILE:
        assert sum(text.replace("\n", "⏎") in shown for shown in page.texts) >= 9


FORMULAS = [f"{start}{rest}" for start in "=+-@＝＋－＠\t" for rest in ("1+1", 'cmd|"/c calc"!A1')]
FORMULAS += ['=HYPERLINK("http://a","x")', "\n=1", "'=1", "''@x", "a;=1", 'a",=1,"b', "a\t=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_an_export_is_a_formula_and_none_is_lost(tmp_path, text):
    turns = dialogue(text, text, system=text)
    long = [*turns, *dialogue(text, text)]
    rows = rows_frame([make_row(t, source=text, category=text) for t in (turns, long)])
    path = tmp_path / "out.csv"
    export_rows(rows, path, form="csv")
    with path.open(newline="", encoding="utf-8") as lines:
        cells = [cell for line in table_format.reader(lines) for cell in line]
    assert not [c for c in cells if c[:1] in set("=+-@＝＋－＠\t\r\n")]
    assert len(cells) == 3 * len(CSV_COLUMNS)
    again = read_source(csv(path=path, unprefix=True)(), source="again")
    assert again.rows["id"].to_list() == rows["id"].to_list()
    assert set(again.rows["category"]) == {text}


def test_every_cell_is_quoted_so_that_no_other_separator_opens_one(tmp_path):
    export_rows(rows_frame([make_row(dialogue("a;=1+1", "b"))]), tmp_path / "o.csv", form="csv")
    for line in (tmp_path / "o.csv").read_text(encoding="utf-8").splitlines():
        assert line.startswith('"') and line.count('"') == 2 * len(CSV_COLUMNS)


def test_the_only_writer_of_tables_for_spreadsheets_is_the_export():
    root = Path(__file__).parents[2]
    packages = ("assets", "curation", "evaluation", "pipelines", "training", "benchmarks")
    files = [p for name in packages for p in (root / name).rglob("*.py")]
    found = [
        path.relative_to(root).as_posix()
        for path in files
        if any(w in path.read_text("utf-8") for w in ("csv.writer", "DictWriter", "write_csv("))
        or "write_excel" in path.read_text("utf-8")
    ]
    assert found == ["curation/export.py"]
