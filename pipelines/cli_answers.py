"""The answers of `winnow lineage` in words, one function for each question that is not a file."""

import json
from collections.abc import Mapping
from typing import Any

from pipelines.cli_text import UI, Lines, counts, cut, field, number, section, yes

Answer = Mapping[str, Any]
SHOWN = 10


def say_model(answer: Answer) -> Lines:
    lineage = answer["lineage"]
    yield field("version", f"v{answer['number']}  {answer['id']}")
    yield field("verdict", answer["said"])
    yield field("published", answer["published"])
    yield field("rows", f"{lineage['n_rows']:,} trained on, {lineage['n_distinct']:,} distinct")
    learned, held = lineage["bad_cases_learned"], lineage["bad_cases_held"]
    yield field("bad cases", f"{learned:,} learned from, {held:,} held back")
    if pairs := lineage.get("pairs"):
        yield field("pairs", f"preferred on {pairs:,} pairs of a right and a wrong answer")
    yield from section(
        "gate",
        [
            ["met" if ok else "NOT MET", rule, f"({said})"]
            for rule, ok, said in answer["verdict"]["rules"]
        ],
    )
    yield from section("reasons", [[reason] for reason in answer["verdict"].get("reasons", ())])
    names = list(answer["metrics"]["candidate"])
    arms = [[arm, *(number(said.get(n)) for n in names)] for arm, said in answer["metrics"].items()]
    yield from section("metrics", [["", *names], *arms], right=range(1, len(names) + 1))
    head = ["", "split", "licence", "revision", "delivered", "trained on", "made from it"]
    sources = [
        [
            name,
            s["split"],
            s["license"] or "–",
            s["revision"][:12] or "–",
            *(number(s[k]) for k in ("delivered", "direct", "through")),
        ]
        for name, s in lineage["sources"].items()
    ]
    yield from section("sources", [head, *sources], right=(4, 5, 6))
    mix = [
        [t, *(number(s[k]) for k in ("rows", "tokens", "loss_tokens"))]
        for t, s in lineage["mix"].items()
    ]
    yield from section("mix", [["", "rows", "tokens", "trained tokens"], *mix], right=(1, 2, 3))
    yield from section("fates", [[step, counts(said)] for step, said in lineage["fates"].items()])
    yield from section("made from", sorted(answer["made_from"].items()))
    yield field("runs", UI + answer["links"]["runs"])
    yield field("asset", UI + answer["links"]["asset"])


def say_row(answer: Answer) -> Lines:
    yield field("row", answer["id"] or "(never became a row)")
    yield field("verdict", answer["verdict"])
    yield field("asked of", answer["asked_of"])
    yield field("source", answer["source"])
    yield from section("text", [[cut(line, 160)] for line in answer["text"]])
    delivered = answer.get("delivered", [])
    yield from section("delivered", [[d["position"], d["source"], d["outcome"]] for d in delivered])
    made = answer.get("made_from", [])
    yield from section("made from", [[m["kind"], m["parent"]] for m in made])
    yield from section("stems from", [_ancestor(a) for a in answer.get("stems_from", [])])
    yield from section("fates", [_fate(s, f) for s, f in answer.get("fates", {}).items()])
    if said := answer.get("reviewed"):
        who = f"{said['verdict']} of {said['id']}" + (f" by {said['by']}" if said["by"] else "")
        yield field("reviewed", who + (f": {cut(said['reason'], 100)}" if said["reason"] else ""))
    scores = answer.get("scores", {})
    yield from section("scores", [[name, _score(value)] for name, value in scores.items()])
    if call := answer.get("call"):
        yield from _say_call(call)


def _say_call(call: Answer) -> Lines:
    tokens = f"{call['prompt_tokens']:,} + {call['completion_tokens']:,} tokens"
    yield field("call", call["key"])
    yield field("model", f"{call['model'] or '(not named)'}, {tokens}, ${call['cost_usd']:.4f}")
    asked = [[m["role"], cut(m["content"], 140)] for m in call["messages"]]
    yield from section("asked", asked)
    yield from section("answered", [[cut(call["answer"], 140)]])


def _score(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else number(value)


def _ancestor(said: Answer) -> list[str]:
    if "bad_case" in said:
        wrong = f"{said['prompt']} → {said['predicted']}"
        return ["bad case", said["bad_case"][:12], said["signature"], cut(wrong)]
    return ["row", said["row"][:12], said["source"], cut(" ⏎ ".join(said["text"][-2:]))]


def _fate(step: str, fate: Answer) -> list[str]:
    rest = [f"{k} {fate[k]:.4g}" for k in ("value", "threshold", "similarity") if k in fate]
    into = [f"into {fate['into'][:12]}"] if "into" in fate else []
    return [
        step,
        fate["fate"],
        ", ".join([*([fate["reason"]] if "reason" in fate else []), *into, *rest]),
    ]


def say_diff(answer: Answer, limit: int = SHOWN) -> Lines:
    yield field("compared", f"{answer['old']} and {answer['new']}")
    yield field("rows", f"{answer['same_rows']:,} in both")
    changes = [[c["kind"], cut(c["detail"], 110)] for c in answer["changes"]]
    yield from section("changed", changes)
    for change in ("came", "went"):
        yield from section(
            change, [[f"{n:,}", cause] for cause, n in answer[change].items()], right=(0,)
        )
    pairs = [[name, *map(number, values)] for name, values in answer["metrics"].items()]
    yield from section("metrics", [["", answer["old"], answer["new"]], *pairs], right=(1, 2))
    shown = _some_of_each(answer["rows"], limit)
    rows = [
        [r["change"], r["id"][:12], r["cause"], cut(r["detail"], 60), cut(r["text"], 40)]
        for r in shown
    ]
    yield from section(f"rows ({len(shown)} of {len(answer['rows'])})", rows)


def _some_of_each(rows: list[Answer], limit: int) -> list[Answer]:
    """At most `limit` rows, of every cause some."""
    turns: dict[tuple[str, str], int] = {}
    ranked = []
    for place, row in enumerate(rows):
        key = (row["change"], row["cause"])
        turns[key] = turns.get(key, -1) + 1
        ranked.append((turns[key], place, row))
    chosen = sorted(ranked, key=lambda r: r[:2])[:limit]
    return [row for _, _, row in sorted(chosen, key=lambda r: r[1])]


def say_users(answer: Answer, limit: int = SHOWN) -> Lines:
    yield field(answer["what"], cut(answer["wanted"]))
    n, asked = len(answer["versions"]), answer["asked"]
    yield field(
        "used by", f"{n} of {asked} model versions" if asked else "there is no model version yet"
    )
    if answer["measured_by"]:
        asked_by = ", ".join(answer["measured_by"])
        yield field("asked by", f"{asked_by} in the exam, which is no training")
    rows = answer.get("rows", [])
    found = [[r["id"][:12], cut(" ⏎ ".join(r["text"][-2:]))] for r in rows[:limit]]
    of = answer.get("n_rows", 0)
    yield from section(f"rows ({len(found)} of {of})" if of > len(found) else "rows", found)
    if inside := answer.get("inside", 0):
        yield f"  {inside:,} more hold it inside a longer text: not meant; ask with their ids"
    ways = ["trained", "through", *(["stands_for", "shown", "judges"] if rows else [])]
    ways += ["pairs"] if any(v.get("pairs") for v in answer["versions"]) else []
    names = {
        "trained": "trained on",
        "through": "made from it",
        "stands_for": "merged into",
        "shown": "shown in a call",
        "judges": "in a judge",
        "pairs": "in a pair",
    }
    head = ["", "verdict", *(names[w] for w in ways), "in base model"]
    table = [
        [
            v["version"],
            v["said"],
            *(number(v[w]) for w in ways),
            yes(v["pretrained"]),
        ]
        for v in answer["versions"]
    ]
    if table:
        yield from section("versions", [head, *table], right=range(2, len(head)))
    for v in answer["versions"]:
        found = [
            [names[r["way"]], r["id"][:12], cut(r["text"], 60)] for r in v.get("rows", [])[:limit]
        ]
        yield from section(f"rows of {v['version']} ({len(found)} of {v.get('n_rows', 0)})", found)


def say_plan(answer: Answer) -> Lines:
    yield field("version", f"{answer['version']}  {answer['id']}")
    yield field("manifest", answer["manifest"])
    yield field("recipe", answer["recipe_digest"])
    yield from section("run", [[line] for line in answer["commands"]])
    yield from section("expected", answer["expected"].items())
    yield from section("packages", answer["packages"].items())
    yield from section("seeds", answer["seeds"].items())
    steps = [
        [
            n,
            s["data_version"],
            number(s["rows"]),
            s["code"][:12],
            json.dumps(s["options"]) if s["options"] else "",
        ]
        for n, s in answer["steps"].items()
    ]
    yield from section(
        "steps", [["", "data version", "rows", "code", "options"], *steps], right=(2,)
    )
    yield from section("recipe text", [[line] for line in answer["recipe"].splitlines()])


def say_check(answer: Answer) -> Lines:
    yield field("version", answer["version"])
    yield field(
        "objects", f"{answer['objects']:,} read, {len(answer['damaged'])} damaged or missing"
    )
    yield field(
        "steps", f"{answer['steps']:,}, {len(answer['differ'])} would be made otherwise now"
    )
    yield from section("damaged", [[line] for line in answer["damaged"]])
    yield from section("differ", [[name, said] for name, said in answer["differ"].items()])
    yield field(
        "verdict", "can be reproduced" if answer["ok"] else "cannot be reproduced as it was"
    )


def say_comparison(answer: Answer) -> Lines:
    yield field("version", answer["version"])
    yield field("like", answer["like"])
    steps = [
        [step, was, "the same" if was == now else f"here {now}"]
        for step, (was, now) in answer["expected"].items()
    ]
    yield from section("expected", steps)
    yield from section("steps that differ", [[step] for step in answer["differ"]])
    yield field("verdict", "made again" if answer["ok"] else "another one")


def say_champion(answer: Answer) -> Lines:
    yield field("at", answer["at"])
    if not answer["version"]:
        known = ", ".join(answer["known"]) or "none exists"
        yield field("champion", f"none was promoted by then (versions: {known})")
        return
    yield field("champion", f"{answer['version']}  {answer['id']}")
    yield field("since", answer["since"])
    yield field("until", answer["until"] or "now")
    yield from section(
        "metrics", [[n, number(v)] for n, v in answer["metrics"].items()], right=(1,)
    )
