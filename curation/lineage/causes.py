"""Causes: why a row is in the training set of one model version and not in that of another.

The answer lies on the side where the row is missing: there it has a fate that it has not on the
other side, or it was never delivered or made there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from curation.conflicts import REJECTED
from curation.lineage.changes import (
    Cause,
    recipe_changes,
    recipes,
    rule_subject,
    step_cause,
)
from curation.lineage.family import edges_of
from curation.lineage.rows import row_fates
from curation.lineage.views import View


@dataclass(frozen=True)
class Sides:
    """The two views a row is looked for in; `came` when it is in the newer one."""

    missing: View
    there: View
    came: bool

    @property
    def old(self) -> View:
        return self.missing if self.came else self.there

    @property
    def new(self) -> View:
        return self.there if self.came else self.missing

    def say(self, came: str, went: str) -> str:
        """The words for the direction the row went."""
        return came if self.came else went

    def step_cause(self, step: str) -> Cause | None:
        """What changed in a step, or upstream of it, between the older and the newer version."""
        if step not in self._step_causes:
            self._step_causes[step] = step_cause(self.old, self.new, step)
        return self._step_causes[step]

    @cached_property
    def _step_causes(self) -> dict[str, Cause | None]:
        return {}

    @cached_property
    def recipe_changes(self) -> list[Cause]:
        return recipe_changes(self.old, self.new)

    @cached_property
    def cases(self) -> dict[str, set[str]]:
        """Bad cases of the missing and the other side by `id` and by the row they correct."""
        tables = {side: getattr(self, side).steps["bad_cases"] for side in ("missing", "there")}
        return {
            side: {i for pair in step.table("rows", columns=["id", "row_id"]).rows() for i in pair}
            for side, step in tables.items()
        }

    @cached_property
    def refused(self) -> dict[tuple[str, str], str]:
        """(call, text) -> why this proposal was refused on the missing side."""
        rejected = self.missing.steps["augmented_rows"].table("rejected")
        columns = rejected.select("call", "text", "reason").iter_rows()
        return {(call, text): reason for call, text, reason in columns}


def row_causes(sides: Sides, rows: pl.DataFrame) -> dict[str, Cause]:
    """The cause for each of the rows, which are on the one side only."""
    ids = rows["id"].to_list()
    fates = row_fates(sides.missing, ids)
    edges = edges_of(sides.there).filter(pl.col("child").is_in(ids)).sort("child", "kind", "parent")
    made = {i: group.to_dicts() for (i,), group in edges.group_by("child", maintain_order=True)}
    parents = _present_parents(sides, edges)
    gone = {
        i: next(((s, f) for s, f in fates[i].items() if f["fate"] != "kept"), None) for i in ids
    }
    counted = sides.missing.steps["rows"].values.get("splits", {"": 0})
    unknown = [i for i in ids if not gone[i] and i not in made]
    splits = _splits(sides.missing, unknown) if {*counted} != {"train"} else {}
    found: dict[str, Cause] = {}
    for row in rows.to_dicts():
        fate = gone[row["id"]]
        if fate:
            found[row["id"]] = _fate_cause(sides, *fate)
        elif row["id"] in made:
            found[row["id"]] = _made_cause(sides, row, made[row["id"]], parents)
        else:
            found[row["id"]] = _imported_cause(sides, row, splits.get(row["id"], ""))
    return found


def _fate_cause(sides: Sides, step: str, fate: Mapping[str, Any]) -> Cause:
    """Why a row has a fate on one side that it has not on the other."""
    if fate.get("reason") == REJECTED:
        changed = sides.step_cause("verdicts")
        said = sides.say("no longer rejected", "rejected by people now")
        return "verdicts", said + (f" ({changed[1]})" if changed else "")
    if step == "duplicates":
        return _merge_cause(sides, fate)
    if step == "kept_rows":
        return _rule_cause(sides, fate)
    if step == "split_rows":
        said = f"gives away {fate['into'][:12]}" if "into" in fate else fate["reason"]
        return "leak guard", sides.say(f"no longer {said}", f"now {said}")
    if fate["fate"] == "not_sampled":
        return _mix_cause(sides)
    changed = sides.step_cause(step)
    why = f" ({changed[1]})" if changed else ""
    return (changed or ("recipe key", ""))[0], f"{fate.get('reason', fate['fate'])}{why}"


def _merge_cause(sides: Sides, fate: Mapping[str, Any]) -> Cause:
    """A row that is merged on one side: another keeper, or another threshold."""
    keeper, near = fate.get("into", ""), f"similarity {fate.get('similarity', 1):.2f}"
    other = row_fates(sides.there, [keeper])[keeper].get("duplicates", {})
    if other.get("fate") == "kept":  # both stay on the other side, so the comparison changed
        changed = sides.step_cause("duplicates")
        said = sides.say("no longer merged into", "now merged into")
        return (changed or ("keeper swap", ""))[0], (
            f"{said} {keeper[:12]}, {near}" + (f" ({changed[1]})" if changed else "")
        )
    if other.get("fate") == "merged":
        said = sides.say("stays now instead of", "gave its place to")
        return "keeper swap", f"{said} {keeper[:12]}, {near}"
    said = sides.say("its keeper went:", "a keeper came:")
    return "keeper swap", f"{said} {keeper[:12]}, {near}"


def _rule_cause(sides: Sides, fate: Mapping[str, Any]) -> Cause:
    """A row that breaks a rule on one side: another rule, or another score under the same rule."""
    rule = fate["reason"]
    old, new = (set(r.get("keep") or ()) for r in recipes(sides.old, sides.new))
    if (rule in old) != (rule in new):
        named = [c for c in sides.recipe_changes if c[0] == "threshold" and rule in c[1]]
        return named[0] if named else ("threshold", f"keep: {rule}")
    measured = f", measured {fate['value']:.4g}" if "value" in fate else ""
    subject = rule_subject(rule)
    if subject == "label_conflict":
        said = sides.say("no longer contradicted", "contradicted by another answer now")
        return "label conflict", said
    changed = sides.step_cause(f"facts/{subject}") or sides.step_cause("split_rows")
    said = sides.say(f"broke {rule}{measured}", f"breaks {rule}{measured}")
    if changed:
        return changed[0], f"{said} ({changed[1]})"
    return "score", said


def _mix_cause(sides: Sides) -> Cause:
    """A row that was not drawn on one side: another ratio, or other rows to draw beside."""
    named = [c for c in sides.recipe_changes if c[1].startswith("mix.")]
    if named:
        return named[0]
    counts = [
        view.steps["training_set"].values["mix"].get(track, {}).get("rows", 0)
        for track in ("domain", "general")
        for view in (sides.old, sides.new)
    ]
    domain = f"domain {counts[0]:,} is now {counts[1]:,}"
    return "mix", f"{domain}, general {counts[2]:,} is now {counts[3]:,}"


def _made_cause(
    sides: Sides, row: Mapping[str, Any], edges: list[dict[str, Any]], parents: set[str]
) -> Cause:
    """A made row that is made on one side only."""
    parent, call = edges[0]["parent"], row["created_by"]
    known = [e["parent"] for e in edges if e["parent"] in parents]
    is_case = parent in sides.cases["there"] or any(e["kind"] == "fix" for e in edges)
    if not known:
        if is_case:
            said = sides.say("made from", "not made again: gone is")
            return sides.say("new bad case", "bad case gone"), f"{said} {parent[:12]}"
        said = sides.say("made from a new row", "not made again: its parent is gone,")
        return sides.say("new parent", "parent gone"), f"{said} {parent[:12]}"
    prompt = next((m["content"] for m in row["messages"] if m["role"] == "user"), "")
    if reason := sides.refused.get((call, prompt)):
        said = sides.say("refused before as", "not made again: refused now as")
        return "refused proposal", f"{said} {reason}"
    changed = sides.step_cause("augmented_rows")
    said = sides.say("made now, of the same parent", "not made again, though its parent is there")
    if changed and changed[0] == "bad cases":  # quotas and material are shared out among them all
        return changed[0], f"{said}: {changed[1]}"
    if changed and changed[0] != "code":
        return changed[0], f"{said} ({changed[1]})"
    if changed:
        return "augmenter", f"{said}: its code changed ({changed[1]})"
    return "other proposals", f"{said}: quotas and material follow all bad cases and seeds"


def _imported_cause(sides: Sides, row: Mapping[str, Any], split: str) -> Cause:
    """An imported row that one side has not as a candidate."""
    if split and split != "train":
        said = (
            f"it is {split} in {sides.missing.label} and training material in {sides.there.label}"
        )
        return "split", said
    step = f"sources/{row['source']}"
    if step not in sides.missing.steps:
        return "recipe key", sides.say(
            f"sources.{row['source']} is new", f"sources.{row['source']} is gone"
        )
    changed = sides.step_cause(step)
    if changed is None:
        return "source content", f"{row['source']!r} delivered it only in {sides.there.label}"
    return changed


def _present_parents(sides: Sides, edges: pl.DataFrame) -> set[str]:
    """Those of the parents that the missing side could have made rows of."""
    parents = edges["parent"].unique().to_list()
    splits = _splits(sides.missing, parents)
    train = {i for i, split in splits.items() if split == "train"}
    return train | (set(parents) & sides.cases["missing"])


def _splits(view: View, ids: list[str]) -> dict[str, str]:
    """Which split the imported rows with these ids belong to."""
    if not ids:
        return {}
    rows = view.steps["rows"].lookup("rows", ids, ["id", "split"])
    return dict(rows.iter_rows())
