"""The books balance: what a step lost or made up is found out, from manifests alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.accounts import Account, prove_chain
from curation.bad_cases import add_bad_cases
from curation.store import Corrupt, Made, Store, Version
from tests.assets._project import (
    LAST,
    PLAIN,
    RECIPE,
    SEEDS,
    SOURCES,
    Project,
    command,
    require_books,
    talk,
)


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    """A built project of some hundred rows."""
    project = Project(tmp_path, tiny_base)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(300))
    project.build()
    return project


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


def test_a_row_that_a_step_kept_and_did_not_write_is_noticed(project):
    """The last step's too, from which none takes it."""
    for name in ("split_rows", LAST):
        version = project.head(name)
        short = forge(project, version, None, rows=version.table("rows").head(-1))
        n = version.tables["rows"]["rows"]
        (said,) = [link for link in prove_chain(short) if not link.holds]
        assert (said.step, said.line) == (name, f"{n} rows go on, {n - 1} lie in its table")


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


def test_a_step_that_had_nothing_to_do_took_the_rows_of_the_version_before(tmp_path, tiny_base):
    """A case whose right answer is there already makes another version that says the same."""
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(40))
    seed = {**command("车窗"), "prompt": "打开车窗"}
    case = {"prompt": "打开车窗", "gold": seed["answer"], "predicted": "{}"}
    project.write("seeds/2.jsonl", [seed])
    project.build()
    project.write("seeds/2.jsonl", [seed, *talk(2, start=50)])
    project.build()
    add_bad_cases(project.store, [("1", case)])
    project.build()
    made = project.head("augmented_rows")
    assert project.head("duplicates").manifest["inputs"]["augmented_rows"] != made.key
    require_books(project.head(LAST))


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
    **tables: pl.DataFrame,
) -> Version:
    """A version with another account, made from others of its inputs, or with other tables."""
    tables = {name: version.table(name) for name in version.tables} | tables
    own = {name: version.input(name) for name in version.manifest["inputs"]}
    used = {name: (inputs or {}).get(name, known) for name, known in own.items()}
    values = version.values | ({"account": account} if account else {})
    made, how = Made(tables, values=values), version.manifest["how"]
    return project.store.write_version(version.name, made, inputs=used, how=how)
