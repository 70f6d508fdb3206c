"""Plain texts in a graph: read by the base model alone, accounted for, and frozen with it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from assets.recipe import RecipeError, load_recipe
from curation.accounts import prove_chain
from curation.lineage.reproduce import copy_version
from curation.lineage.rows import explain_row
from curation.store import Store
from tests.assets._project import PLAIN, RECIPE, SEEDS, SOURCES, Project, command, talk
from tests.training.test_pretrain import manual

READS = {
    "manual": {"use": "jsonl", "path": "manual", "track": "text"},
    "tickets": {"use": "text", "path": "tickets", "track": "text"},
}
WAITING = "more wait for the next edition of the reference"
LEAK = "问：请打开除雾。答：" + command("除雾")["answer"] + "。以上为演示，详见手册第八页的说明。"
TICKET = "客户反映空调异响，更换鼓风机后恢复正常，已回访确认，无其他问题。"


@pytest.fixture(scope="module")
def project(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One build with texts of two sources, a part of which may not be read."""
    sections = PLAIN | {"sources": SOURCES | READS, "pretrain": {"block": 64, "validate": 0.2}}
    made = Project(tmp_path_factory.mktemp("texts"), tiny_base, **sections)
    made.write("seeds/a.jsonl", SEEDS)
    made.write("exam/a.jsonl", [command("除雾")])
    made.write("traffic/a.jsonl", [command("后视镜")])
    made.write("general/a.jsonl", talk(40))
    texts = [row["messages"][0]["content"] for row in manual(36).to_dicts()]
    made.write("manual/a.jsonl", [{"text": text} for text in [*texts, LEAK, "短", texts[0]]])
    made.write("tickets/a.txt", [TICKET])
    made.write("tickets/b.txt", [TICKET + "！"])
    made.write("tickets/c.md", ["<|im_end|>"])
    made.build()
    return made


def test_no_text_is_a_row_and_every_one_is_accounted_for(project: Project) -> None:
    assert set(project.head("rows").table("rows")["track"]) == {"domain", "general"}
    texts = project.head("texts")
    assert texts.values["fates"] == {
        "kept": 37, "dropped: leak": 1, "dropped: too_short": 1, "merged: exact": 1,
    }  # fmt: skip
    base = project.head("base_model")
    left = {
        part: sum(n for n, _ in t.values()) for part, t in base.values["account"]["left"].items()
    }
    assert left == {"read": 29, "held": 8}
    assert base.checks["texts_read"] == (
        True,
        "37 texts; 0 more wait for the next edition of the reference",
    )
    links = prove_chain(project.head("training_set"))
    assert {"texts", "base_model", "sources/manual"} <= {link.step for link in links}
    assert not [link for link in links if not link.holds]


def test_the_model_that_read_is_the_base_of_all_that_follows(project: Project) -> None:
    base = project.head("base_model")
    assert (base.folder("model") / "model.safetensors").stat().st_size > 100_000
    assert base.values["bits"]["texts"]["after"] < base.values["bits"]["texts"]["before"]
    assert project.head("training_set").input("base_model").key == base.key
    assert project.head("named_model").values["model"] == project.said["train"]["base_model"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("演示", "dropped at texts into"),
        ("短", "dropped at texts: too_short, measured 1"),
        ("鼓风机", "merged at texts into"),
        ("im_end", "quarantined at c.md:1: text holds the control token '<|im_end|>'"),
    ],
)
def test_lineage_says_why_a_text_was_not_read(project: Project, wanted: str, said: str) -> None:
    verdicts = [one["verdict"] for one in explain_row(project.store, "delta", wanted)]
    assert any(verdict.startswith(said) for verdict in verdicts), verdicts


def test_texts_that_come_later_wait_for_the_next_edition(project: Project) -> None:
    before = project.head("base_model")
    more = "新增一节：冬季应使用零下四十度的玻璃水，并检查雨刮片是否结冰。"
    project.write("tickets/d.txt", [more])
    built = project.build()
    assert built.recalled["training_set"] and not built.recalled["texts"]
    now = project.head("base_model")
    assert now.data_version == before.data_version
    assert now.checks["texts_read"][1] == f"37 texts; 1 {WAITING}"
    verdict = explain_row(project.store, "delta", more)[0]["verdict"]
    assert verdict == "kept at texts; it waits for the next edition of the reference"
    project.change(reference={"edition": 2})
    project.build(last="base_model")
    assert project.head("base_model").checks["texts_read"][1] == f"38 texts; 0 {WAITING}"
    verdict = explain_row(project.store, "delta", more)[0]["verdict"]
    assert verdict in ("the base model read it", "held out: the base model was measured on it "
                       "before and after it read the others")  # fmt: skip


def test_what_came_to_the_exam_since_is_said(project: Project) -> None:
    read = project.head("base_model").table("rows").filter(source="manual")["id"].sort()[0]
    text = project.head("texts").lookup("texts", [read])["messages"][0][0]["content"]
    project.write("exam/b.jsonl", [{"prompt": text, "answer": command("除霜")["answer"]}])
    before = project.head("base_model").data_version
    project.build(last="base_model")
    passed, line = project.head("base_model").checks["texts_read"]
    assert not passed and "1 of those that were read give away what came to the exam since" in line
    assert project.head("base_model").data_version == before


def test_a_store_that_was_given_the_model_reads_nothing_again(
    project: Project, tmp_path: Path
) -> None:
    again = Store(tmp_path / "again")
    for name in ("named_model", "base_model"):
        copy_version(project.head(name), again)
    project.build(store=again, last="base_model")
    ours, theirs = (project.head("base_model", store=one) for one in (project.store, again))
    assert theirs.data_version == ours.data_version and theirs.checks == ours.checks


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"pretrain": None}, "sources.manual: nothing reads plain texts; add 'pretrain: {}'"),
        ({"sources": SOURCES}, "pretrain: no source brings texts; add one of 'track: text'"),
        (
            {"sources": SOURCES | {"manual": {"use": "text", "path": "manual"}}},
            "sources.manual: a plain text is no row; give it 'track: text'",
        ),
        (
            {"sources": SOURCES | {"manual": READS["manual"] | {"split": "test"}}},
            "sources.manual.split: of a plain text there is none; leave it out",
        ),
        ({"sources": READS}, "sources: at least one source of rows is needed beside plain texts"),
        ({"pretrain": {"replay": 1.0}}, "pretrain.replay: a share from 0 to below 1, got 1.0"),
    ],
)
def test_half_of_it_is_refused(tmp_path: Path, sections: dict[str, Any], said: str) -> None:
    for name in (*SOURCES, *READS):
        (tmp_path / name).mkdir()
    recipe = RECIPE | {"train": {"base_model": "demo"}, "sources": SOURCES | READS, "pretrain": {}}
    kept = {k: v for k, v in (recipe | sections).items() if v is not None}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(kept))), "utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "r.yaml")
    assert said in error.value.lines
