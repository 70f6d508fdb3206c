"""The difference of two versions: every row that came or went has its true cause."""

import pytest

from curation.lineage import compare_models
from curation.rows import dialogue, row_id
from curation.store import Store
from tests.curation.lineage_world import Plan, answer, case, publish

SEEDS = [(f"打开{what}", answer("打开", what)) for what in ("空调", "天窗", "车灯", "雨刮")]
AIR = row_id(dialogue(*SEEDS[0]))
NO_GENERAL = {"mix": {"general": 0}}
LONG = ("麻烦你现在帮我把后排左边的车窗打开一下", answer("打开", "车窗"))


def plan(seeds=SEEDS, **said):
    return Plan(sources={"seeds": seeds}, **{"recipe": NO_GENERAL, **said})


@pytest.fixture
def compare(tmp_path):
    """Build two plans and compare them; every row that moved is counted once."""

    def built(old, new):
        store = Store(tmp_path)
        before, after = (publish(store, p).input("training_set").table("rows") for p in (old, new))
        said = compare_models(store, "w", "v1", "v2")
        came = set(after["id"]) - set(before["id"])
        went = set(before["id"]) - set(after["id"])
        moved = {(r["change"], r["id"]) for r in said["rows"]}
        assert moved == {("came", i) for i in came} | {("went", i) for i in went}
        assert len(said["rows"]) == len(came) + len(went)
        assert sum(said["came"].values()) == len(came)
        assert said["same_rows"] == after.height - len(came)
        return said

    return built


def only(said, change="came"):
    """The one row that moved in this direction."""
    (row,) = [r for r in said["rows"] if r["change"] == change]
    return row["cause"], row["detail"]


def kinds(said):
    return {(c["kind"], c["detail"]) for c in said["changes"]}


def learned():
    """A bad case of the half to learn from, and its correction as a made row."""
    gold = answer("关闭", "雨刮")
    for n in range(50):
        found = case("关掉雨刮" + "吧" * n, gold)
        if found["half"] == "learn":
            return found, (found["prompt"], gold, found["id"], "fix")
    raise AssertionError("one of fifty prompts is to learn from")


def test_a_row_of_a_new_bad_case_names_the_case(compare):
    found, correction = learned()
    said = compare(plan(), plan(cases=[found], made=[correction]))
    cause, detail = only(said)
    assert cause == "new bad case" and found["id"][:12] in detail
    assert ("bad cases", "1 came (1 to learn from)") in kinds(said)


def test_a_bad_case_that_is_gone_takes_its_rows_along(compare):
    found, correction = learned()
    cause, detail = only(compare(plan(cases=[found], made=[correction]), plan()), "went")
    assert cause == "bad case gone" and found["id"][:12] in detail


def test_a_moved_threshold_is_named_with_both_rules(compare):
    loose, strict = (["n_chars <= 400"], ["n_chars <= 50"])
    said = compare(plan([*SEEDS, LONG], keep=loose), plan([*SEEDS, LONG], keep=strict))
    expected = ("threshold", "keep: n_chars <= 400 is now n_chars <= 50")
    assert only(said, "went") == expected and expected in kinds(said)


def test_a_lowered_threshold_lets_rows_come(compare):
    loose, strict = (["n_chars <= 400"], ["n_chars <= 50"])
    said = compare(plan([*SEEDS, LONG], keep=strict), plan([*SEEDS, LONG], keep=loose))
    assert only(said) == ("threshold", "keep: n_chars <= 50 is now n_chars <= 400")


def test_another_dedup_threshold_is_named_by_its_key(compare):
    near = [*SEEDS, LONG, ("麻烦你现在帮我把后排左边的车窗打开一下吧", LONG[1])]
    recipes = [{**NO_GENERAL, "dedup": {"threshold": t}} for t in (0.99, 0.7)]
    said = compare(plan(near, recipe=recipes[0]), plan(near, recipe=recipes[1]))
    cause, detail = only(said, "went")
    assert cause == "threshold" and "dedup.threshold: 0.99 is now 0.7" in detail


def test_a_better_copy_takes_a_rows_place(compare):
    copy = ("打开空调！", SEEDS[0][1])
    old = Plan(sources={"seeds": SEEDS}, recipe=NO_GENERAL)
    new = Plan(sources={"gold": [copy], "seeds": SEEDS}, recipe=NO_GENERAL)
    said = compare(old, new)
    keeper = row_id(dialogue(*copy))
    cause, detail = only(said, "went")
    assert cause == "keeper swap" and keeper[:12] in detail and "a keeper came" in detail
    assert only(said) == ("recipe key", "sources.gold is new")


def test_a_row_that_lost_its_rank_swaps_places_with_its_keeper(compare):
    copy = ("打开空调！", SEEDS[0][1])
    first, second = ({"a": [SEEDS[0]], "b": [copy]}, {"b": [copy], "a": [SEEDS[0]]})
    said = compare(*(Plan(sources=s, recipe=NO_GENERAL) for s in (first, second)))
    assert only(said)[0] == only(said, "went")[0] == "keeper swap"
    assert AIR[:12] in only(said)[1] and "stays now instead of" in only(said)[1]


def test_a_source_revision_is_named_with_both_values(compare):
    revisions = [{"seeds": {"revision": r}} for r in ("a1", "b2")]
    said = compare(plan(labels=revisions[0]), plan([*SEEDS, LONG], labels=revisions[1]))
    assert only(said) == ("source revision", "sources.seeds.revision: a1 is now b2")


def test_a_changed_file_is_told_from_a_changed_recipe(compare):
    said = compare(plan(), plan([*SEEDS, LONG], how={"sources/seeds": {"reads": "new"}}))
    assert only(said) == ("source content", "the files of 'seeds' changed")


def test_a_removed_source_is_a_recipe_key(compare):
    both = Plan(sources={"seeds": SEEDS, "more": [LONG]}, recipe=NO_GENERAL)
    assert only(compare(both, plan()), "went") == ("recipe key", "sources.more is gone")


@pytest.mark.parametrize(
    ("how", "cause", "detail"),
    [
        ({"packages": {"polars": "2.2"}}, "library", "polars: 2.1 is now 2.2"),
        ({"modules": {"curation.ingest": "f"}}, "code", "curation.ingest"),
    ],
)
def test_an_upgrade_and_new_code_are_told_apart(compare, how, cause, detail):
    said = compare(plan(), plan([*SEEDS, LONG], how={"sources/seeds": how}))
    assert only(said) == (cause, detail) and (cause, detail) in kinds(said)


def test_another_mix_says_the_ratio(compare):
    said = compare(plan(), plan(recipe={"mix": {"general": 1}}))
    assert said["came"] == {"recipe key": 4}
    assert {r["detail"] for r in said["rows"]} == {"mix.general: 0 is now 1"}


def test_general_rows_drawn_beside_more_domain_rows_say_so(compare):
    ratio = {"mix": {"general": 1}}
    more = plan([*SEEDS, LONG], recipe=ratio, how={"sources/seeds": {"reads": "new"}})
    said = compare(plan(recipe=ratio), more)
    assert said["came"] == {"mix": 1, "source content": 1}
    (drawn,) = [r for r in said["rows"] if r["cause"] == "mix"]
    assert drawn["detail"] == "domain 4 is now 5, general 4 is now 5"


def test_a_made_row_whose_parent_went_says_so(compare):
    made = [("打开空调吧", SEEDS[0][1], AIR, "augment_seed")]
    said = compare(plan(made=made), plan(SEEDS[1:], how={"sources/seeds": {"reads": "new"}}))
    cause = {r["id"]: (r["cause"], r["detail"]) for r in said["rows"]}
    assert cause[AIR][0] == "source content"
    child = next(i for i in cause if i != AIR)
    assert cause[child] == ("parent gone", f"not made again: its parent is gone, {AIR[:12]}")


def test_a_made_row_of_a_changed_augmenter_names_the_option(compare):
    made = [("请打开副驾氛围灯", answer("打开", "副驾氛围灯"), AIR, "augment_seed")]
    recipes = [{**NO_GENERAL, "augment": {"per_seed": n}} for n in (1, 0)]
    said = compare(plan(made=made, recipe=recipes[0]), plan(recipe=recipes[1]))
    cause, detail = only(said, "went")
    assert cause == "recipe key" and "augment.per_seed: 1 is now 0" in detail
    assert "not made again" in detail


def test_a_made_row_whose_augmenter_has_new_code_says_so(compare):
    made = [("请打开副驾氛围灯", answer("打开", "副驾氛围灯"), AIR, "augment_seed")]
    new = {"augmented_rows": {"modules": {"curation.augmenters.rules": "f"}}}
    cause, detail = only(compare(plan(made=made), plan(how=new)), "went")
    assert cause == "augmenter" and "curation.augmenters.rules" in detail


def test_a_proposal_that_is_refused_now_says_why(compare):
    text, said = "请打开副驾氛围灯", answer("打开", "副驾氛围灯")
    made = [(text, said, AIR, "augment_seed")]
    old = plan(made=made, call="c1")
    new = plan(rejected=[(text, "unfit_text", "c1")])
    assert only(compare(old, new), "went") == (
        "refused proposal", "not made again: refused now as unfit_text",
    )  # fmt: skip


def test_a_contradicted_row_is_a_label_conflict(compare):
    other = (SEEDS[0][0], answer("关闭", "空调"))
    new = plan([*SEEDS, other], how={"sources/seeds": {"reads": "new"}})
    cause, detail = only(compare(plan(), new), "went")
    assert cause == "label conflict" and "contradicted" in detail


def test_a_row_that_gives_a_new_exam_row_away_is_a_leak(compare):
    test = {"exam": {"split": "test"}}
    new = Plan(sources={"seeds": SEEDS, "exam": [("打开空调。", SEEDS[0][1])]}, labels=test,
               recipe=NO_GENERAL)  # fmt: skip
    cause, detail = only(compare(plan(), new), "went")
    assert cause == "leak guard" and detail.startswith("now gives away")


def test_a_row_moved_into_the_exam_says_its_split(compare):
    new = Plan(sources={"seeds": SEEDS[1:], "exam": [SEEDS[0]]}, recipe=NO_GENERAL,
               labels={"exam": {"split": "test"}})  # fmt: skip
    assert only(compare(plan(), new), "went") == (
        "split", "it is test in v2 and training material in v1",
    )  # fmt: skip


def test_nothing_moved_is_said_by_empty_counts(tmp_path):
    store = Store(tmp_path)
    publish(store, plan())
    said = compare_models(store, "w", "v1", "v1")
    assert said["came"] == said["went"] == {} and said["changes"] == [] and said["rows"] == []


def test_a_missing_version_is_named(tmp_path):
    store = Store(tmp_path)
    publish(store, plan())
    with pytest.raises(LookupError, match="no model version 'v2'; known: v1"):
        compare_models(store, "w", "v1", "v2")
