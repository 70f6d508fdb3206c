"""Deliveries: new rows alone cost, a grown store says what a fresh one says, and the books balance.

Every stage here is the true one, run through `run_stage` on files that a test writes. Work is
counted by what the stages report they have to do, and signatures and model scores where they are
made too.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.stage import CheckFailed
from curation.accounts import Account, prove_chain
from curation.augmenters._base import AugmentWork
from curation.bad_cases import add_bad_cases
from curation.exam import set_exam
from curation.rows import digest
from curation.scripted_llm import ScriptedLLM
from curation.split import half_of
from curation.store import Corrupt, Made, Store, Version
from curation.text import text_key
from tests.assets._counting import rows_read_by_models, rows_signed
from tests.assets._project import (
    COMPARED,
    HAN,
    LAST,
    RECIPE,
    RULE_SCORERS,
    SEEDS,
    Project,
    command,
    talk,
)


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    """A built project of some hundred rows, with a scorer that learns from a frozen reference."""
    scorers = {**RECIPE["scorers"], "perplexity": {}}
    project = Project(tmp_path, tiny_base, scorers=scorers)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(200))
    project.write("general/2.jsonl", talk(100, start=200))
    project.build()
    return project


def test_new_rows_cost_each_step_exactly_as_many(project):
    project.write("general/2.jsonl", talk(30, start=300), append=True)
    project.write("general/3.jsonl", talk(20, start=330))
    looked_at = set(project.head(LAST).table("tokens")["id"])
    with rows_signed() as signed:
        counted = project.build().counted
        assert project.build().counted == {}
    assert sum(signed) == 50
    turns = set(project.head(LAST).table("tokens")["id"]) - looked_at
    steps = ("signatures", *RULE_SCORERS, "perplexity")
    assert counted == dict.fromkeys(steps, 50) | ({"tokens": len(turns)} if turns else {})


def test_new_rows_are_made_only_when_what_they_are_made_from_is_another(project, monkeypatch):
    asked = list[int]()

    def count(**given: Any) -> AugmentWork:
        asked.append(given["seeds"].height)
        return AugmentWork(**given)

    monkeypatch.setattr("assets.augment.AugmentWork", count)
    before = project.head("augmented_rows")
    project.write("general/3.jsonl", talk(20, start=330))
    project.build()
    again = project.head("augmented_rows")
    assert asked == [] and again.key != before.key and again.data_version == before.data_version
    assert again.tables == before.tables and again.manifest["checks"] == before.manifest["checks"]
    assert again.input("rows").key == project.head("rows").key
    project.write("seeds/2.jsonl", [command("后备箱")])
    project.build()
    assert asked == [len(SEEDS) + 1]
    (project.folder / "seeds" / "2.jsonl").unlink()
    project.build()
    assert asked == [len(SEEDS) + 1] and project.head("augmented_rows").tables == before.tables
    add_bad_cases(project.store, [("1", command("空调") | {"gold": "{}", "predicted": "{}"})])
    project.build()
    assert len(asked) == 2


def test_a_row_is_tokenised_when_its_turn_comes_in_the_mix_and_never_again(project):
    chosen, kept = project.head(LAST), project.head("kept_rows").table("rows")
    assert chosen.table("tokens")["id"].equals(chosen.table("rows", ["id"])["id"])
    project.change(mix={**RECIPE["mix"], "general": 2})
    more = project.build().counted["tokens"] + chosen.table("rows").height
    assert project.head(LAST).table("rows").height == more < kept.height
    project.change(mix=RECIPE["mix"])
    assert project.build().counted == {}


def test_rows_that_only_left_leave_the_scores_of_the_others(project):
    scores = project.head("kept_rows").table("scores")
    project.write("general/4.jsonl", talk(200, start=600))
    project.build()
    (project.folder / "general" / "4.jsonl").unlink()
    assert project.build().counted == {}
    assert project.head("kept_rows").table("scores").equals(scores)


def test_nothing_new_recalls_every_stage(project):
    again = project.build()
    assert again.counted == {} and all(again.recalled.values())


def test_the_same_rows_in_another_order_or_other_files_cost_nothing(project):
    before = project.head("rows").data_version
    lines = (project.folder / "general" / "1.jsonl").read_text(encoding="utf-8").splitlines()
    project.write("general/1.jsonl", reversed(lines))
    with rows_signed() as signed:
        reordered = project.build()
        (project.folder / "general" / "1.jsonl").rename(project.folder / "general" / "9.jsonl")
        renamed = project.build()
    assert not sum(signed)
    for build in (reordered, renamed):
        assert build.counted == {} and not build.recalled["sources/general"]
        assert all(build.recalled[name] for name in ("duplicates", "kept_rows", LAST))
    assert project.head("rows").data_version == before


def test_another_rule_scores_nothing_anew_and_the_old_one_is_recalled(project):
    old, keep = project.head("kept_rows").key, project.said["keep"]
    project.change(keep=["length <= 50", *keep[1:]])
    changed = project.build()
    assert changed.counted == {} and not changed.recalled["kept_rows"]
    assert all(done for name, done in changed.recalled.items() if name.startswith("facts/"))
    assert project.head("kept_rows").key != old
    project.change(keep=keep)
    assert all(project.build().recalled.values())
    assert project.head("kept_rows").key == old


def test_another_threshold_that_is_taken_back_hits_what_was_there(project):
    old = project.head(LAST).key
    project.change(dedup={"threshold": 0.7})
    changed = project.build()
    assert changed.counted == {"signatures": changed.counted["signatures"]}
    assert not changed.recalled["duplicates"]
    project.change(dedup={"threshold": 0.8})
    assert all(project.build().recalled.values()) and project.head(LAST).key == old


def test_a_reference_stays_what_it_was_until_its_edition_is_raised(project):
    old = project.head("reference").data_version
    project.write("general/3.jsonl", talk(40, start=400))
    project.build()
    assert project.head("reference").data_version == old
    project.change(reference={"edition": 2})
    raised = project.build()
    rows = project.head("split_rows").table("rows", ["id"]).height
    assert raised.counted == {"perplexity": rows}
    assert project.head("reference").data_version != old


def test_a_rule_that_takes_too_much_of_a_source_stops_the_run_with_the_numbers(project):
    old = project.head("kept_rows").key
    project.change(guard={"max_share": 0.3})
    project.write("general/3.jsonl", [row | {"answer": "很" * 120} for row in talk(200, start=500)])
    with pytest.raises(CheckFailed, match=r"removes 200 of 500 rows \(40%\) of source 'general'"):
        project.build()
    assert project.head("kept_rows").key == old
    (project.folder / "general" / "3.jsonl").unlink()
    project.build()
    assert project.head("kept_rows").table("rows", ["id"]).height >= 300


def test_scores_by_a_model_cost_a_forward_pass_for_each_new_row_alone(tmp_path, tiny_base):
    judge = tmp_path / "judge"
    make_judge(tiny_base, judge)
    scorers = {"model_perplexity": {}, "reward": {"model": str(judge)}}
    project = Project(tmp_path, tiny_base, scorers=scorers, keep=[])
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(20))
    project.build()
    project.write("general/1.jsonl", talk(5, start=20), append=True)
    project.write("seeds/2.jsonl", [command("除雾"), command("香氛")])
    made = project.head("augmented_rows").table("rows", ["id"])
    with rows_read_by_models() as read:
        counted = project.build().counted
    new = project.head("augmented_rows").table("rows", ["id"]).join(made, on="id", how="anti")
    expected = 7 + new.height
    assert counted["model_perplexity"] == counted["reward"] == expected
    assert sorted(read.values()) == [expected, expected] and len(read) == 2
    facts = project.head("facts/reward").table("facts")
    assert set(facts["status"]) == {"ok"} and facts["value"].n_unique() > 5


def make_judge(base: Path, out: Path) -> None:
    """A reward model with a random head on a tiny base, not trained: any fixed one will do."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def learnable(n: int, *, tail: str = "") -> list[str]:
    """Things whose prompts fall into the half that may be learned from."""
    things = [a + b + tail for a in "左右前后" for b in "灯窗门镜座扇箱屏锁帘泵锅炉钟琴笔"]
    return [t for t in things if half_of(digest(text_key(f"能不能打开{t}"))) == "learn"][:n]


def bad_case(thing: str, predicted: str) -> dict[str, str]:
    return {**command(thing), "prompt": f"能不能打开{thing}", "predicted": predicted}


def test_a_language_model_is_asked_for_new_error_types_alone(tmp_path, tiny_base, monkeypatch):
    monkeypatch.setenv("DELTA_KEY", "a-key-of-this-test")

    def respond(request: dict[str, Any]) -> Any:
        nonlocal number
        number += 1
        things = [f"{a}{b}" for a in HAN[number % 40 : number % 40 + 5] for b in "甲乙丙丁"]
        return {"rows": [{"from": 1, **command(thing)} for thing in things]}

    def deliver(predicted: str, things: Sequence[str]) -> None:
        cases = [bad_case(thing, predicted) for thing in things]
        cases = [{"gold": case.pop("answer"), **case} for case in cases]
        add_bad_cases(project.store, ((str(i), case) for i, case in enumerate(cases)))

    number, things = 0, learnable(4)
    with ScriptedLLM(respond) as server:
        augment = {"use": "llm", "model": "m", "base_url": server.base_url, "api_key": "DELTA_KEY"}
        project = Project(tmp_path, tiny_base, augment=augment)
        project.write("seeds/1.jsonl", SEEDS)
        project.write("general/1.jsonl", talk(20))
        asked = []
        for delivery in (
            lambda: deliver("{}", things[:2]),
            lambda: deliver("不是 JSON", things[2:]),
            lambda: project.write("general/2.jsonl", talk(9, start=90)),
            lambda: [memo.unlink() for memo in (tmp_path / "store" / "memo").glob("*.json")],
        ):
            delivery()
            before = server.count
            project.build(last="augmented_rows")
            asked.append(server.count - before)
        types = project.head("error_types").table("rows")["signature"].to_list()
        made = project.head("augmented_rows").values["usage"]
    assert len(types) == 2 and asked == [1, 1, 0, 0]
    assert (made["calls"], made["cached_calls"]) == (2, 1)


# What a row may say: the same again, nearly the same, with another answer, in two languages.
PROMPTS = ("打开车窗", "打开车窗！", "把左边的车窗打开一半", "把左边的车窗打开一半吧", "turn it on")
ANSWERS = ("车窗", "左边的车窗", "it")
LINES = st.one_of(
    st.builds(
        lambda prompt, what: {**command("x", what), "prompt": prompt},
        st.sampled_from(PROMPTS),
        st.sampled_from(ANSWERS),
    ),
    st.sampled_from(talk(6)),
    st.sampled_from(["{", "[1]", '{"prompt": "没有答案"}', "不是 JSON"]),
)  # fmt: skip
DELIVERY = st.tuples(
    st.sampled_from(["append", "write", "write", "remove", "wrong"]),
    st.sampled_from(["seeds", "general", "exam", "traffic"]),
    st.sampled_from(["1.jsonl", "3.jsonl", "5.jsonl"]),
    st.lists(LINES, min_size=1, max_size=6),
)
SOURCES: dict[str, dict[str, str]] = {
    **RECIPE["sources"],
    "exam": {"use": "jsonl", "path": "exam", "track": "domain", "split": "test"},
    "traffic": {"use": "jsonl", "path": "traffic", "track": "domain", "split": "heldout"},
}
PLAIN = {
    "scorers": {"length": {}},
    "keep": ["length <= 55", "not label_conflict"],
    "guard": {"max_share": 1.0},
}


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(DELIVERY, min_size=1, max_size=3))
def test_a_store_that_grew_says_what_a_fresh_one_says(tiny_base, deliveries):
    with TemporaryDirectory() as folder:
        # No scorer here learns from the reference, which is frozen by design and would differ.
        grown = Project(Path(folder), tiny_base, sources=SOURCES, **PLAIN)
        for name in SOURCES:
            grown.write(f"{name}/2.jsonl", talk(40, start=900) if name == "general" else [])
        grown.write("seeds/2.jsonl", SEEDS)
        grown.build()
        wrong: list[tuple[str, Any]] = []
        for number, (kind, source, file, lines) in enumerate(deliveries):
            if kind == "wrong":
                wrong += [(f"{number}:{i}", case_of(line)) for i, line in enumerate(lines)]
                add_bad_cases(grown.store, wrong)
            else:
                deliver(grown, kind, f"{source}/{file}", lines)
            grown.build()
            fresh = Store(Path(folder) / f"fresh{number}")
            add_bad_cases(fresh, wrong)
            grown.build(store=fresh)
            require_same(grown, fresh)
            require_books(grown.head(LAST))


@pytest.fixture
def examined(tmp_path: Path, tiny_base: Path) -> Project:
    """A built project with an exam: test rows, traffic that is held out, and bad cases."""
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN)
    project.write("exam/1.jsonl", [command(f"{what}灯") for what in "近远前后"])
    project.write("traffic/1.jsonl", [command(f"{what}窗") for what in "左右前后"])
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(60))
    complain(project.store)
    project.build()
    return project


@pytest.fixture
def set_anew(examined: Project, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many candidates an exam was set, each time that one was."""
    asked = list[int]()

    def count(unique: Any, *given: Any, **options: Any) -> Any:
        asked.append(unique.height)
        return set_exam(unique, *given, **options)

    monkeypatch.setattr("assets.exam.set_exam", count)
    return asked


def complain(store: Store) -> None:
    said = [case_of(command(f"{what}门")) for what in "车尾左右"]
    add_bad_cases(store, ((str(i), case) for i, case in enumerate(said)))


def test_while_the_exam_stays_only_new_general_rows_are_judged(examined, set_anew):
    repeats = [{"prompt": HAN[:30] + end, "answer": "好的，就这样。"} for end in ("天", "天吧")]
    leak = {**command("近灯"), "answer": "另外一个回答"}
    examined.write("general/2.jsonl", [*talk(9, start=300), leak, *repeats, repeats[0]])
    examined.build()
    assert set_anew == []
    split, pairs = examined.head("split_rows"), examined.head("duplicates").table("pairs")
    assert "general" in split.table("fates").filter(reason="leak")["source"]
    assert pairs.filter(kind="near").height and {*pairs["id"]} <= {*split.table("clusters")["id"]}
    fresh = Store(examined.folder / "fresh")
    complain(fresh)
    examined.build(store=fresh)
    require_same(examined, fresh)
    require_books(examined.head(LAST))
    (examined.folder / "general" / "2.jsonl").unlink()
    set_anew.clear()
    assert examined.build(last="split_rows") and set_anew == []
    clusters = examined.head("split_rows").tables["clusters"]
    assert clusters["digest"] != split.tables["clusters"]["digest"]


@pytest.mark.parametrize("file", ["seeds", "exam", "traffic"])
def test_an_exam_is_set_anew_when_a_row_comes_that_it_is_set_from(examined, set_anew, file):
    examined.write(f"{file}/2.jsonl", [command("后备箱")])
    examined.build(last="split_rows")
    assert set_anew


def case_of(line: Any) -> dict[str, Any]:
    """What a product says of a line that its model answered with nothing."""
    line = line if isinstance(line, dict) else {"prompt": str(line)}
    gold = {"gold": line["answer"]} if "answer" in line else {}
    return {"prompt": line["prompt"], "predicted": "{}", **gold}


def deliver(project: Project, kind: str, file: str, lines: Sequence[Any]) -> None:
    if kind == "remove":
        (project.folder / file).unlink(missing_ok=True)
    else:
        project.write(file, lines, append=kind == "append")


def require_same(project: Project, fresh: Store) -> None:
    """Every table of every step bit for bit, and with it the counts and accounts."""
    for name in (*(f"sources/{source}" for source in project.recipe.sources), *COMPARED):
        ours, theirs = project.head(name), project.head(name, store=fresh)
        for table in theirs.tables:
            assert ours.table(table).equals(theirs.table(table)), (name, table)
        assert ours.values == theirs.values, name
        assert ours.data_version == theirs.data_version, name


def require_books(version: Version) -> None:
    links = prove_chain(version)
    assert {link.step for link in links} >= {*COMPARED} - {"unique_rows"}
    assert not [link for link in links if not link.holds]


def test_accounts_that_were_tampered_with_are_noticed(project):
    require_books(project.head(LAST))
    kept = project.head("kept_rows")
    fewer, other = one_fewer(kept), account_of(kept)
    for side, label in (("entered", "split_rows/kept"), ("left", "kept")):
        other[side][label]["general"][1] = "f" * 32
    (said,) = failing(project, kept, fewer)
    assert said.step == "kept_rows" and "source 'general': 300 rows" in said.line
    (said,) = failing(project, kept, other)
    assert said.step == "kept_rows" and said.line.endswith("not what it gave")


def test_an_exam_row_that_is_lost_and_rows_nobody_took_are_noticed(project):
    """The books follow rows to the exam too, and a step that leaves some aside is named."""
    held = {"use": "jsonl", "path": "test", "track": "domain", "split": "test"}
    (project.folder / "test").mkdir()
    project.change(sources={**RECIPE["sources"], "test": held})
    project.write("test/1.jsonl", [command("后备箱"), command("遮阳帘")])
    project.build()
    require_books(project.head(LAST))
    steps = [project.head(name) for name in ("split_rows", LAST)]
    lost, untaken = (account_of(steps[0]) for _ in range(2))
    lost["left"]["exam"]["test"][0] -= 1
    (said,) = failing(project, steps[0], lost)
    assert said.step == "split_rows" and "source 'test'" in said.line
    del untaken["left"]["exam"], untaken["entered"]["rows/test"]
    forged = {"split_rows": forge(project, steps[0], untaken)}
    for name in ("kept_rows", LAST):
        forged[name] = forge(project, project.head(name), None, forged)
    (said,) = [link for link in prove_chain(forged[LAST]) if not link.holds]
    assert said.step == "rows" and said.line.endswith("(test): no step took them")


def test_the_books_are_proven_from_manifests_alone(project):
    """Wrong ones are found out by them too."""
    last, kept = project.head(LAST), project.head("kept_rows")
    wrong = forge(project, kept, one_fewer(kept))
    objects = [p for p in (project.store.root / "objects").rglob("*") if p.is_file()]
    for path in (p for p in objects if "manifests" not in p.parts):
        path.unlink()
    store = Store(project.store.root)
    with pytest.raises(Corrupt):
        store.version(last.key).table("rows")
    require_books(store.version(last.key))
    (said,) = [link for link in prove_chain(store.version(wrong.key)) if not link.holds]
    assert said.step == "kept_rows" and "source 'general': 300 rows" in said.line


def account_of(version: Version) -> dict[str, Any]:
    """A copy of its account, to be changed."""
    account = Account.read(version)
    assert account is not None
    return json.loads(json.dumps(account.to_dict()))


def one_fewer(version: Version) -> dict[str, Any]:
    """Its account with one general row fewer that was kept."""
    account = account_of(version)
    account["left"]["kept"]["general"][0] -= 1
    return account


def failing(project: Project, version: Version, account: dict[str, Any]) -> list[Any]:
    """Links that do not hold of a version whose manifest says this account instead."""
    return [link for link in prove_chain(forge(project, version, account)) if not link.holds]


def forge(
    project: Project,
    version: Version,
    account: dict[str, Any] | None,
    inputs: Mapping[str, Version] | None = None,
) -> Version:
    """A version with another account, or made from others of its inputs."""
    tables = {name: version.table(name) for name in version.tables}
    own = {name: version.input(name) for name in version.manifest["inputs"]}
    used = {name: (inputs or {}).get(name, known) for name, known in own.items()}
    values = version.values | ({"account": account} if account else {})
    made, how = Made(tables, values=values), version.manifest["how"]
    return project.store.write_version(version.name, made, inputs=used, how=how)
