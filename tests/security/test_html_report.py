"""The report of a version is whole, and what stands in a row arrives in it as its letters."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.lineage.report import model_report, write_report
from curation.store import Made, Store, Version
from tests.security.test_reports import HOSTILE
from training.curves import draw_curves

VOID = {"meta", "input"}
SVG = {"svg", "title", "desc", "style", "rect", "text", "line", "polyline", "circle"}
TAGS = VOID | SVG | {
    "html", "head", "body", "nav", "label", "h1", "h2", "h3", "p", "ul", "li", "div", "span",
    "code", "pre", "mark", "table", "tr", "th", "td",
}  # fmt: skip
STATES = pl.DataFrame(
    {"state": ["fixed", "open", "fixed"], "version": ["v2", "", "v2"], "half": ["learn"] * 3}
)


class Page(HTMLParser):
    """The tags, attributes and text of a page; every tag that is opened has to be closed."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def values(text: str) -> dict[str, Any]:
    """A version's values with a text wherever people or rows may have written one."""
    one = {"split": "train", "license": text, "delivered": 5, "direct": 3, "through": 0}
    return {
        "number": 2, "id": "feed11f3f074e574", "promoted": False,
        "verdict": {
            "decision": "reject", "reasons": [text], "note": text,
            "rules": [(text, False, text), ("leaks = 0", True, "leaks 0")],
        },
        "metrics": {"candidate": {"exact_match": 0.8125}, "champion": {"exact_match": None}},
        "lineage": {
            "n_rows": 5712, "mix": {"domain": {"rows": 714, "tokens": 44972, "loss_tokens": 16475}},
            "sources": {text: one}, "fates": {"kept_rows": {f"dropped: {text}": 6, "kept": 9}},
        },
    }  # fmt: skip


def world(store: Store, text: str) -> tuple[Version, Version]:
    """Adapter and evaluation as their stages leave them."""
    how = {"code": "c", "section": None, "recipe_text": "train: {base_model: demo}\n"}

    def step(name: str, made: Made, **inputs: Version) -> Version:
        version = store.write_version(f"tiny/{name}", made, inputs=inputs, how=how)
        store.publish(version)
        return version

    upstream = {n: step(n, Made(values={"n": n})) for n in ("training_set", "base_model")}
    trained = {
        "method_used": "qlora", "n_rows": 5712, "n_tokens": 9, "n_loss_tokens": 5, "n_held": 4,
        "left": {text: 1}, "diagnosis": [text], "reasons": [text],
        "best": {"step": 80, "eval_domain_loss": 0.0, "eval_general_loss": 0.6931471805599453},
        "shown": [f"<|im_start|>user\n{text}<|im_end|>\n⟦{text}<|im_end|>⟧\n"],
    }  # fmt: skip
    slices = [{"label": "lang", "value": text, "n": 9, "old": 1.0, "new": 0.0, "gain": -1.0,
               "p": 0.01, "worse": True}]  # fmt: skip
    adapter = step("adapter", Made(values=trained), **upstream)
    evaluation = step("evaluation", Made(values={"main": "exact_match", "slices": slices}))
    made = Made({"bad_cases": STATES}, values=values(text))
    step("model_version", made, adapter=adapter, evaluation=evaluation, **upstream)
    return adapter, evaluation


def report(tmp_path: Path, text: str) -> str:
    world(store := Store(tmp_path), text)
    svg = draw_curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    return write_report(store, "tiny", "v2", curves={"en": svg, "zh": ""})


@pytest.mark.parametrize("text", [*HOSTILE, "</pre></td></svg><script>", "{{ 7 * 7 }}{% raw %}"])
def test_hostile_text_arrives_as_its_letters(tmp_path: Path, text: str) -> None:
    page = Page(report(tmp_path, text))
    assert page.tags <= TAGS and not {name for name in page.attributes if name.startswith("on")}
    assert not {"src", "href", "action"} & page.attributes
    # twice in a shown row; rule, detail, reason, note, left, diagnosis, reasons, slice, source,
    # licence and fate once each
    assert page.text.count(text) == 13


def test_what_reorders_a_line_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    page = report(tmp_path, "abc\u202edcba\u0000")
    assert "\u202e" not in page and "\u0000" not in page and "abcU+202EdcbaU+0000" in page


def test_the_report_holds_every_part_in_both_languages(tmp_path: Path) -> None:
    page = Page(report(tmp_path, "打开空调"))
    for said in ("0.812", "5,712", "NOT MET", "不满足", "未通过", "fixed in v2", "44,972"):
        assert said in page.text
    assert "<mark>打开空调&lt;|im_end|&gt;</mark>\n</pre>" in report(tmp_path, "打开空调")
    assert "(perplexity困惑度 1.000)" in page.text and "困惑度 2.000)" in page.text
    title = r'<h2><span class="t" lang="en">(.+?)</span><span class="t" lang="zh">(.+?)<'
    titles = re.findall(title, report(tmp_path, "x"))
    assert len(titles) == 7 and ("Bad cases after this version", "此版本之后的坏例") in titles


def test_it_asks_for_nothing_from_elsewhere_and_is_the_same_each_time(tmp_path: Path) -> None:
    first, again = (report(tmp_path, "a") for _ in range(2))
    assert first == again and "default-src 'none'" in first
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", first)


def test_a_version_that_says_nothing_of_its_run_has_a_report(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _, evaluation = world(store, "a")
    upstream = {n: store.head(f"tiny/{n}") for n in ("training_set", "base_model")}
    bare = store.write_version("tiny/adapter", Made(), inputs=upstream, how={})  # type: ignore[arg-type]
    told = {"adapter": bare, "evaluation": evaluation, "states": STATES.clear()}
    page = Page(model_report("tiny", values("a"), base_model="demo", curves={}, **told))
    assert "None was known." in page.text and "没有已知的坏例" in page.text
