"""The template that builds the prompts of a source hides no row, and changes nothing else."""

from curation.store import Store
from tests.assets._counting import rows_signed
from tests.assets._project import PLAIN, RECIPE, SEEDS, Project, require_same, talk

TEMPLATE = (
    "请阅读下面这条对车载语音助手的评价，判断它是好评还是差评，"
    "只回答两个字，不要解释，也不要重复原文：{text}"
)
SAID = ["很好用", "反应慢", "不好用", "很聪明", "听不懂", "声音小", "真方便", "太吵了"]
SOURCES = RECIPE["sources"] | {
    "reviews": {
        "use": "jsonl", "path": "reviews", "track": "general", "template": TEMPLATE,
        "columns": {"answer": "label"},
    }
}  # fmt: skip


def reviewed(texts):
    return [{"text": text, "label": "差评"} for text in texts]


def merged(project):
    return project.head("duplicates").table("pairs").height


def test_short_texts_of_a_template_stay_whenever_they_come(tmp_path, tiny_base):
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN)
    project.write("seeds/a.jsonl", SEEDS)
    project.write("general/a.jsonl", talk(30))
    project.write("reviews/a.jsonl", reviewed(SAID[:5]))
    with rows_signed() as signed:
        project.build(last="split_rows")
    rows = project.head("rows").table("rows", ["id"]).height
    made = project.head("augmented_rows").table("rows", ["id"]).height
    assert merged(project) == 0 and sum(signed) <= rows + made + 20  # once for both steps
    project.write("reviews/b.jsonl", reviewed([*SAID[5:], "很好用！"]))
    project.build()
    assert merged(project) == 1
    fresh = Store(tmp_path / "fresh")
    project.build(store=fresh)
    require_same(project, fresh)


def test_a_template_that_is_named_later_brings_its_rows_back(tmp_path, tiny_base):
    written = [{"prompt": TEMPLATE.replace("{text}", t), "answer": "差评"} for t in SAID]
    project = Project(tmp_path, tiny_base, **PLAIN)
    project.write("seeds/a.jsonl", SEEDS)
    project.write("general/a.jsonl", [*talk(30), *written])
    project.build(last="unique_rows")
    assert merged(project) > 1
    project.change(dedup={"templates": [TEMPLATE]})
    project.build(last="unique_rows")
    assert merged(project) == 0
