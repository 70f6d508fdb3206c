"""`winnow store`: what it prints, what it changes, and its exit codes."""

import json

import polars as pl
import pytest

from curation.store import Made, Store
from pipelines.cli import build_parser, main
from pipelines.cli_store import STORE_EXAMPLES


def publish(store, name, *ids, n=None, **inputs):
    rows = pl.DataFrame({"id": [i * 32 for i in ids], "source": "a"})
    tally = {"a": [n or len(ids), f"{sum(int(i * 32, 16) for i in ids) % 2**128:032x}"]}
    values = {"account": {"entered": {"made": tally}, "left": {"kept": tally}}}
    made = Made({"rows": rows}, values=values)
    store.publish(store.write_version(name, made, inputs=inputs, how={"code": str(n)}))


@pytest.fixture
def store(tmp_path):
    """Three versions of one step and one of another."""
    store = Store(tmp_path / "store")
    for ids in ("1", "12", "123"):
        publish(store, "座舱/rows", *ids)
    publish(store, "座舱/kept_rows", "1")
    return store


@pytest.fixture
def winnow(store, capsys):
    """Run a command on that store: exit code, what it printed, what it said on stderr."""

    def run(*arguments):
        code = main(["store", *arguments, "--store", str(store.root)])
        return code, *capsys.readouterr()

    return run


def damage(store, version):
    path = store.root / "objects" / version.tables["rows"]["parts"][0][0][0][0]
    path.write_bytes(b"x" + path.read_bytes()[1:])


@pytest.mark.parametrize("command", STORE_EXAMPLES)
def test_every_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(["store", command, "--help"])
    assert stop.value.code == 0
    assert f"example:\n  {STORE_EXAMPLES[command]}" in capsys.readouterr().out


@pytest.mark.parametrize("command", STORE_EXAMPLES)
def test_every_example_is_a_command(command):
    assert build_parser().parse_args(STORE_EXAMPLES[command].split()[1:]).command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["log", "row"], "did you mean '座舱/rows'?"),
        (["rollback", "rows", "9"], "座舱/rows has no version '9'; it has 1 to 3"),
        (["pin", "best", "rows@x"], "no version 'x'"),
        (["pin", "a/b", "rows"], "'a/b' is no label"),
        (["unpin", "best"], "nothing is pinned as 'best'"),
        (["gc", "--keep", "0"], "keep is 0"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_two(winnow, arguments, said):
    code, _, line = winnow(*arguments)
    assert code == 2 and said in line and len(line.strip().splitlines()) == 1


def test_no_store_is_a_line_and_none_is_made(tmp_path, capsys):
    assert main(["store", "check", "--store", str(tmp_path / "none")]) == 2
    assert "there is no store" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_check_finds_nothing_in_a_whole_store(winnow):
    code, said, _ = winnow("check")
    assert code == 0 and said == "no damage\n4 links of accounts proven, 0 open\n"


def test_check_names_what_is_damaged_and_removes_it_when_asked(winnow, store):
    damage(store, store.head("座舱/rows"))
    code, said, _ = winnow("check")
    assert code == 1 and "part of 座舱/rows@3" in said
    code, said, _ = winnow("check", "--remove-damaged", "--json")
    assert code == 1 and json.loads(said)["damage"][0]["versions"] == ["座舱/rows@3"]
    publish(Store(store.root), "座舱/rows", *"123")
    assert winnow("check")[0] == 0
    store.unlock_writer()


def test_check_finds_an_account_that_does_not_add_up(winnow, store):
    rows = pl.DataFrame({"id": ["1" * 32], "source": "a"})
    sides = {"entered": {"made": {"a": [2, "0" * 32]}}, "left": {"kept": {"a": [1, "0" * 32]}}}
    made = Made({"rows": rows}, values={"account": sides})
    store.publish(store.write_version("座舱/split", made, inputs={}, how={}))
    code, said, _ = winnow("check")
    assert code == 1 and "座舱/split: source 'a': 2 rows" in said and "1 open" in said


def test_gc_removes_old_versions_and_a_dry_run_says_so_first(winnow, store):
    before = store.refs()
    code, said, _ = winnow("gc", "--keep", "1", "--dry-run")
    assert code == 0 and said.startswith("would remove 2 refs") and store.refs() == before
    assert winnow("gc", "--keep", "1")[1] == said.replace("would remove", "removed")
    assert len(store.refs("座舱/rows")) == 1


def test_a_pinned_version_outlives_gc(winnow, store):
    assert winnow("pin", "发布", "rows@1")[0] == 0
    assert winnow("pin", "now", "rows")[1].startswith("now: 座舱/rows@3 stays")
    winnow("gc", "--keep", "1")
    assert store.pins()["发布"].table("rows").height == 1
    said = json.loads(winnow("pins", "--json")[1])
    assert said["发布"]["asset"] == "座舱/rows" and winnow("pins")[1].endswith("2 pinned\n")
    assert winnow("unpin", "发布")[0] == 0 and list(store.pins()) == ["now"]


def test_gc_says_that_the_champion_stays(winnow, store):
    for number in (1, 2, 3):
        made = Made(values={"number": number, "id": f"{number:032x}", "promoted": number == 1})
        version = store.write_version("座舱/model_version", made, inputs={}, how={})
        store.publish(version)
    code, said, _ = winnow("gc", "--keep", "1")
    assert code == 0
    assert said.splitlines()[1:] == ["座舱/model_version@1 stays: v1 is the champion"]
    assert winnow("check")[0] == 0 and len(store.refs("座舱/model_version")) == 2


def test_rollback_makes_an_earlier_version_the_present_one(winnow, store):
    code, said, _ = winnow("rollback", "座舱/rows", "1")
    store.unlock_writer()
    assert code == 0 and said.startswith("座舱/rows@4 is 座舱/rows@1 again")
    assert store.head("座舱/rows").table("rows").height == 1


def test_log_shows_the_versions_and_what_was_different(winnow, store):
    publish(store, "座舱/kept_rows", "1", rows=store.head("座舱/rows"))
    entries = json.loads(winnow("log", "rows", "--json")[1])
    assert [(e["n"], e["rows"]) for e in entries] == [(3, 3), (2, 2), (1, 1)]
    first, second = winnow("log", "kept_rows")[1].splitlines()
    assert first.startswith("座舱/kept_rows@2  20") and first.endswith("other rows")
    assert second.endswith("made first") and "1 rows" in second
