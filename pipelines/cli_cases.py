"""Answers about cases in words: the life of a bad case, whom to blame, what leaks."""

from collections.abc import Mapping, Sequence
from typing import Any

from curation.lineage.states import say_state
from pipelines.cli_text import Lines, aligned, cut, field, number, section, visible

Answer = Mapping[str, Any]
SHOWN = 10


def say_inbox(cases: Sequence[Answer], quarantined: int) -> Lines:
    lines = [[c["id"][:12], *_list_cells(c)] for c in cases]
    yield from aligned([["id", "state", "error", "found by", "prompt"], *lines]) if lines else ()
    more = ": `winnow bad-cases list --quarantined`" if quarantined else ""
    yield f"{len(cases):,} bad cases, {quarantined:,} lines quarantined{more}"


def _list_cells(case: Answer) -> list[str]:
    state = say_state(case["state"], case["version"]).partition(",")[0]
    return [state, case["signature"] or "–", case["found_by"] or "–", cut(case["prompt"], 60)]


def say_quarantine(lines: Sequence[Answer]) -> Lines:
    """Nobody vouches for these texts, so what a terminal would obey is written as an escape."""
    for line in lines:
        yield f"{visible(line['position'])}: {visible(line['reason'])}"
        yield f"  {cut(visible(line['raw']), 200)}"
        if "case" in line:
            yield f"  winnow bad-cases correct {line['case'][:12]} --gold TEXT"
    yield f"{len(lines):,} lines quarantined"


def say_case(answer: Answer, limit: int = SHOWN) -> Lines:
    yield field("bad case", answer["id"])
    yield field("state", answer["state"])
    yield field("why", answer["why"])
    yield field(
        "found by", f"{answer['found_by'] or '(not said)'}, delivered {answer['delivered']}"
    )
    yield field("half", {"learn": "to learn from", "hold": "held back"}[answer["half"]])
    kind = answer["error_type"]
    yield field(
        "error",
        f"{kind['name'] or '(not named yet)'}: {kind['n']:,} cases, {kind['quota']:,} rows wanted",
    )
    yield from section("said", [[k, cut(answer[k], 120)] for k in ("prompt", "gold", "predicted")])
    head = ["", "rows made", "trained on", "its own answer"]
    versions = [[v["version"], *_case_cells(v)] for v in answer["versions"]]
    yield from section("versions", [head, *versions], right=(1, 2)) if versions else iter(())
    for version in answer["versions"]:
        rows = version["rows"][:limit]
        made = [[r["kind"], r["id"][:12], cut(r["verdict"], 60), cut(r["text"], 50)] for r in rows]
        yield from section(
            f"rows of {version['version']} ({len(rows)} of {len(version['rows'])})", made
        )


def _case_cells(version: Answer) -> list[str]:
    trained = sum(r["verdict"] == "trained on" for r in version["rows"])
    said = version["answer"]
    own = (
        "not asked"
        if said is None
        else "right"
        if said["exact"]
        else f"wrong: {cut(said['predicted'], 60)}"
    )
    paired = " and as a pair" if version["pairs"] else ""
    return [number(len(version["rows"])), number(trained) + paired, own]


def say_blame(answer: Answer) -> Lines:
    case = answer["case"]
    yield field("version", answer["version"])
    right = "right: nothing to blame" if case["exact"] else f"wrong: {case['signature']}"
    yield field("case", f"{case['id']}  {case['split']}, {right}")
    yield from section("said", [[k, cut(case[k], 120)] for k in ("prompt", "gold", "predicted")])
    yield field("conflicts", f"{answer['conflicts']:,} near rows answer otherwise")
    head = ["", "near", "says", "row", "source", "from", "prompt", "answer"]
    near = [
        [
            "conflict" if n["conflict"] else "",
            f"{n['similarity']:.2f}",
            n["says"],
            n["id"][:12],
            n["source"],
            _origin(n),
            cut(n["prompt"], 30),
            cut(n["answer"], 60),
        ]
        for n in answer["neighbours"]
    ]
    yield from section("nearest", [head, *near]) if near else iter(())


def _origin(said: Answer) -> str:
    if said["made_from"]:
        return f"{said['made_from'][0]['kind']} {said['made_from'][0]['parent'][:12]}"
    return said["delivered"][0]["position"] if said["delivered"] else "–"


def say_leaks(answer: Answer) -> Lines:
    compared = answer["compared"]
    yield field("version", answer["version"])
    yield field("leaks", f"{len(answer['leaks']):,}")
    yield field(
        "compared",
        f"{compared['trained']:,} trained rows with {compared['exam']:,} protected exam rows, "
        f"by id, by prompt, by nearness from {compared['threshold']:g} and over "
        f"{compared['edges']:,} links to parents",
    )
    yield field("gate", f"counted {answer['gate_said']:,} when it judged")
    pairs = [
        [
            *(p["how"], p["id"][:12], cut(p["prompt"] or "", 40)),
            *(p["of"][:12], cut(p["gives_away"] or "", 40)),
        ]
        for p in answer["leaks"][:SHOWN]
    ]
    yield from section("pairs", pairs)
