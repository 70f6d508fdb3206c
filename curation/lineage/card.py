"""The model card: what a version was trained on, how it was judged, and what it is not good for."""

from collections.abc import Mapping, Sequence
from typing import Any

from curation.markdown import plain, table
from curation.registry import find_version, say_verdict
from curation.store import Store

_FEW = 200


def write_card(store: Store, recipe: str, name: str) -> str:
    """`lineage card`: the card as it was written when the version was registered (Markdown)."""
    return find_version(store, recipe, name).values["card"]


def model_card(recipe: str, values: Mapping[str, Any], *, base_model: str, metrics: str) -> str:
    """The model card in Markdown from a version's values and its table of metrics."""
    lineage, version = values["lineage"], f"v{values['number']}"
    parts = [
        f"# {plain(recipe)} {version}",
        f"Version `{values['id']}`, {say_verdict(values)}. An adapter of {plain(base_model)}.",
        "## Evaluation on the frozen test set",
        metrics,
        *_section("## By part of the test set", values["gaps_table"]),
        *_section("## General ability by category", values["general_table"]),
        "## Gate",
        _gate(values["verdict"]),
        "## Training data",
        f"{lineage['n_rows']:,} rows were trained on, {lineage['n_distinct']:,} of them distinct.",
        _sources(lineage["sources"]),
        _mix(lineage["mix"]),
        "Bad cases: learned from "
        f"{lineage['bad_cases_learned']:,}, held back {lineage['bad_cases_held']:,}."
        + _preferred(lineage.get("pairs", 0)),
        *_training(values.get("training", ())),
        *_section("## Bad cases after this version", values["bad_case_table"]),
        "## What became of the rows",
        _fates(lineage["fates"]),
        "## Limits",
        _limits(values),
        "## How to reproduce it",
        f"`winnow lineage reproduce {version}` writes out the recipe, the version of every step, "
        f"packages and seeds; `--check` says whether all of it is still there.",
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _preferred(n_pairs: int) -> str:
    return f" Then preferred on {n_pairs:,} pairs of a right and a wrong answer." * bool(n_pairs)


def _training(said: Sequence[str]) -> list[str]:
    """What was chosen for the training run and why, and what the run itself said."""
    return _section("## How it was trained", "\n".join(f"- {plain(line)}" for line in said))


def _section(title: str, body: str) -> list[str]:
    """Nothing where there is nothing to say."""
    return [title, body] if body else []


def _gate(verdict: Mapping[str, Any]) -> str:
    rules = [
        f"- {'met' if ok else 'NOT MET'}: {plain(rule)} ({plain(detail)})"
        for rule, ok, detail in verdict["rules"]
    ]
    broken = tuple(rule for rule, ok, _ in verdict["rules"] if not ok)
    others = [r for r in verdict.get("reasons", ()) if not (broken and r.startswith(broken))]
    doubts = [f"- {plain(reason)}" for reason in others]
    return "\n".join(rules + doubts) or "The recipe has no gate."


def _sources(sources: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [plain(name), said["split"], plain(said["license"] or "not stated"),
         plain(said["revision"] or "–"),
         f"{said['delivered']:,}", f"{said['direct']:,}", f"{said['through']:,}",
         "yes" if said["pretrained"] else "no"]
        for name, said in sources.items()
    ]  # fmt: skip
    head = ["source", "split", "licence", "revision", "delivered", "trained on",
            "rows made from it", "in the base model"]  # fmt: skip
    return table(head, rows)


def _mix(mix: Mapping[str, Mapping[str, int]]) -> str:
    head = ["track", "rows", "tokens", "trained tokens"]
    rows = [
        [track, *(f"{said[k]:,}" for k in ("rows", "tokens", "loss_tokens"))]
        for track, said in mix.items()
    ]
    return table(head, rows, numbers=3)


def _fates(fates: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        [step, plain(fate), f"{n:,}"]
        for step, counts in fates.items()
        for fate, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return table(["step", "fate", "rows"], rows, numbers=1)


def _limits(values: Mapping[str, Any]) -> str:
    lineage = values["lineage"]
    said = [
        "Measured only on what the test sources hold; other domains and languages were not.",
        f"{values['failed_heldout']:,} held-out rows were answered wrong.",
    ]
    if note := values["verdict"].get("note"):
        said.append(f"The numbers stand on {note}.")
    unstated = [name for name, s in lineage["sources"].items() if not s["license"]]
    if unstated:
        said.append(f"No licence is stated for: {', '.join(map(plain, unstated))}.")
    if not values["promoted"]:
        words = {"rejected": "The gate rejected this version; it is not meant for use."}
        asked = "The gate left this version to people; see why above before it is used."
        said.append(words.get(say_verdict(values), asked))
    return "\n".join(f"- {line}" for line in said)
