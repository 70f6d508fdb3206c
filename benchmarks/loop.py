"""What the loop of bad cases comes to: rounds on the in-car task with a scripted teacher.

    .venv/bin/python benchmarks/loop.py [--rounds 3] [--votes 3] [--folder FOLDER]
    .venv/bin/python benchmarks/loop.py --quick        rows only: no model is trained

The teacher is a real endpoint that follows a script. It knows the grammar of the task, and a fold
of it that neither traffic nor test are drawn from. It writes rows of the shape of the bad cases it
is shown, makes the mistakes that models make (invents a value, mixes up condition and act, drops a
value, repeats a case, answers in prose), and a kind of mistake less often when the prompt names it
among the reasons of the last refusals. A dropped value is valid and wrong: only blind re-answers
can see it, and of these one in ten is wrong itself. Every row that was taken is held against the
grammar's own answer. With --quick the bad cases are right answers of the traffic made wrong by the
task, a hundred more each round.
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from assets.graph import build_stages
from assets.recipe import load_recipe
from assets.stage import Job, run_stage
from curation.bad_cases import add_bad_cases
from curation.rows import ANSWER, UTTERANCE
from curation.scripted_llm import ScriptedLLM
from curation.sources.grammar import grammar
from curation.store import Store, Version

RECIPES = Path(__file__).parents[1] / "pipelines" / "recipes"
MISTAKES = {"invent": 0.15, "mix_up": 0.12, "drop": 0.1, "repeat": 0.1, "prose": 0.05}
"""Share of rows with each mistake, while nobody names it."""
NAMED = {"ungrounded": "invent", "un": "mix_up", "missing": "mix_up", "disputed": "drop",
         "repeats": "repeat", "near": "repeat", "not_json": "prose"}  # fmt: skip
"""The mistake that a refusal's reason, by its beginning, names."""
WRONG_VOTE = 0.1
FIRST = 2
Built = dict[str, Version]
"""The versions that a build made, by the name of their stage."""


class Teacher:
    """Answers requests for rows and blind questions from one fold of the grammar."""

    def __init__(self, rows: int):
        path = RECIPES / "in_car" / "grammar.yaml"
        drawn = grammar(path=path, rows=rows, seed=21, folds=4, fold=0)()
        turns = (record.data["messages"] for record in drawn)
        self.truth = {asked["content"]: said["content"] for *_, asked, said in turns}
        self.by_shape: dict[Any, list[str]] = defaultdict(list)
        for prompt, answer in self.truth.items():
            self.by_shape[shape_of(json.loads(answer))].append(prompt)

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        text = request["messages"][1]["content"]
        draw = random.Random(zlib.crc32(json.dumps(request, sort_keys=True).encode()))
        fences = [json.loads(one) for one in re.findall(r"<data>\n(.*?)\n</data>", text, re.DOTALL)]
        if '"rows"' not in request["messages"][0]["content"]:
            answer = json.loads(self.truth[fences[-1]])
            return {"answer": drop_value(answer) if draw.random() < WRONG_VOTE else answer}
        count = int(re.findall(r"第 \d+ 批，请写 (\d+) 条", text)[0])
        reasons = fences[1] if len(fences) > 1 else {}
        told = {NAMED[start] for reason in reasons for start in NAMED if reason.startswith(start)}
        rates = {kind: rate / 4 if kind in told else rate for kind, rate in MISTAKES.items()}
        cases = fences[0]["cases"]
        return {"rows": [self.write(cases, n, rates, draw) for n in range(count)]}

    def write(
        self,
        cases: list[dict[str, Any]],
        number: int,
        rates: Mapping[str, float],
        draw: random.Random,
    ) -> dict[str, Any]:
        """A row after one of the cases, right or with a mistake."""
        case = cases[number % len(cases)]
        relation = ("similar", "near_miss", "contrast")[draw.choices(range(3), (4, 3, 3))[0]]
        shape = shape_of(case["gold"])
        if relation == "near_miss" or shape not in self.by_shape:
            near = [s for s in self.by_shape if s[1] == shape[1] and s != shape]
            shape = draw.choice(near or [*self.by_shape])
        prompt = draw.choice(self.by_shape[shape])
        kind = draw.choices([*rates, ""], [*rates.values(), 1 - sum(rates.values())])[0]
        answer = json.loads(self.truth[prompt])
        if kind == "repeat":
            prompt, answer = case["prompt"], case["gold"]
        wrong = {"invent": invent, "mix_up": mix_up, "drop": drop_value, "prose": lambda _: "好的"}
        answer = wrong[kind](answer) if kind in wrong else answer
        return {"from": case["n"], "relation": relation, "prompt": prompt, "answer": answer}


def shape_of(answer: Any) -> tuple[Any, ...]:
    """Conditions by their slots, number of acts, and what is done: rows of one shape are alike."""
    conditions = tuple(sorted(tuple(sorted(one)) for one in answer.get("conditions", ())))
    acts = [one["do"] for one in answer["actions"]]
    return conditions, len(acts), acts[0]


def invent(answer: Any) -> Any:
    """A value that nobody said."""
    answer["actions"][-1]["value"] = "最大"
    return answer


def mix_up(answer: Any) -> Any:
    """An act among the conditions."""
    return {"conditions": answer["actions"][:1], "actions": answer["actions"]}


def drop_value(answer: Any) -> Any:
    """The last act without its value, or without what is left of it."""
    last = answer["actions"][-1]
    if "value" in last:
        del last["value"]
    elif len(answer["actions"]) > 1:
        answer["actions"].pop()
    else:
        answer.pop("conditions", None)
    return answer


class Loop:
    """A store and the in-car recipe with the teacher for its augmenter, built again and again."""

    def __init__(self, folder: Path, url: str, *, quick: bool, votes: int):
        said = yaml.safe_load((RECIPES / "in_car.yaml").read_text(encoding="utf-8"))
        for source in said["sources"].values():
            source["path"] = str(RECIPES / source["path"])
        if quick:
            said["sources"] = {name: said["sources"][name] for name in ("seeds", "traffic", "test")}
        said["augment"] = {"use": "llm", "model": "scripted", "base_url": url, "votes": votes}
        said["augment"] |= {"api_key": "BENCH_KEY", "concurrency": 4}
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "loop.yaml"
        path.write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
        self.recipe, self.store, self.quick = load_recipe(path), Store(folder / "store"), quick

    def build(self, number: int) -> Built:
        """Run every stage, or those down to the rows that are made."""
        found: Built = {}
        for stage in build_stages(self.recipe):
            start = time.monotonic()
            if self.quick and stage.name == "bad_cases":
                self._complain(found["rows"], number)
            found[stage.name] = run_stage(Job(self.recipe, self.store), stage).version
            if (seconds := time.monotonic() - start) > 5:  # noqa: PLR2004  # worth a line
                print(f"  {stage.name} {seconds:.0f} s", file=sys.stderr, flush=True)
            if self.quick and stage.name == "augmented_rows":
                break
        return found

    def _complain(self, rows: Version, number: int) -> None:
        """Put a hundred answers to traffic into the inbox, each wrong in a way the task knows."""
        traffic = rows.table("rows").filter(split="heldout")[100 * number - 200 :][:100]
        said = traffic.select(prompt=UTTERANCE, gold=ANSWER).to_dicts() if number > 1 else []
        cases = []
        for i, case in enumerate(said):
            wrong = self.recipe.task.corrupt(case["gold"], case["prompt"], seed=0)
            cases.append((str(i), {**case, "predicted": wrong[i % len(wrong)][0]}))
        add_bad_cases(self.store, cases)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--votes", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="rows only: no model is trained")
    parser.add_argument("--folder", type=Path, help="keep the store there")
    args = parser.parse_args()
    os.environ["BENCH_KEY"] = "the-scripted-server-asks-for-none"
    teacher = Teacher(6_000)
    with tempfile.TemporaryDirectory() as temporary, ScriptedLLM(teacher) as server:
        folder = args.folder or Path(temporary)
        loop = Loop(folder, server.base_url, quick=args.quick, votes=args.votes)
        for line in measure(loop, teacher, args.rounds):
            print(line, flush=True)
    return 0


def measure(loop: Loop, teacher: Teacher, rounds: int) -> Iterator[str]:
    """Lines of Markdown tables: what each round cost and brought, and each type that it taught."""
    head = ("version", "cases learn + hold", "calls", "proposed", "valid", "new", "taken", "right")
    yield line(*head)
    yield "|---" * 8 + "|"
    before, models, types = loop.build(1), [], []
    for number in range(2, rounds + 2):
        now = loop.build(number)
        yield line(f"v{number}", *rows_of(now, teacher))
        if not loop.quick:
            models += [line(f"v{number - 1}", *model_of(before, None))] if number == FIRST else []
            models += [line(f"v{number}", *model_of(now, before))]
            types += [line(f"v{number}", *said) for said in types_of(now, before)]
        before = now
    if loop.quick:
        return
    yield ""
    yield line("version", "held fixed", "held broken", "test", "test broken", "general_bpb")
    yield from ("|---" * 6 + "|", *models, "")
    yield line("version", "error type", "cases", "rows", "held, wrong before", "fixed")
    yield from ("|---" * 6 + "|", *types)


def rows_of(now: Built, teacher: Teacher) -> Iterator[Any]:
    """Cases, calls, and what became of the proposals; right are rows with the grammar's answer."""
    halves, made = now["bad_cases"].values["halves"], now["augmented_rows"]
    told = made.table("types").select(pl.col("proposed", "repeated", "made").sum())
    proposed, repeated, taken = told.row(0)
    rows = made.table("rows").select(prompt=UTTERANCE, answer=ANSWER).iter_rows()
    right = [json.loads(answer) == json.loads(teacher.truth[prompt]) for prompt, answer in rows]
    yield f"{halves.get('learn', 0)} + {halves.get('hold', 0)}"
    yield from (made.values["usage"].get("calls", 0), proposed, share(taken, proposed))
    yield from (share(proposed - repeated, proposed), taken, share(sum(right), len(right)))


def model_of(now: Built, before: Built | None) -> Iterator[Any]:
    """What the model of a round fixed and broke, and its metrics on the test."""
    metrics = now["evaluation"].values["metrics"]["candidate"]
    held = now["bad_cases"].table("rows").filter(half="hold")["row_id"]
    asked = now["evaluation"].table("rows").filter(arm="candidate", split="test")["id"]
    fixed, wrong, broken, right = compare(now, before, held)
    yield from (f"{fixed} of {wrong}", f"{broken} of {right}", f"{metrics['exact_match']:.3f}")
    _, _, broken, right = compare(now, before, asked)
    yield from (f"{broken} of {right}", f"{metrics['general_bpb']:.4f}")


def types_of(now: Built, before: Built) -> Iterator[tuple[Any, ...]]:
    """Of each type, how many of its held cases that the version before got wrong are right now."""
    cases = now["bad_cases"].table("rows").filter(half="hold").select("id", "row_id")
    made = dict(now["augmented_rows"].table("types").select("signature", "made").iter_rows())
    for one in now["error_types"].table("rows").iter_rows(named=True):
        ids = cases.filter(pl.col("id").is_in(one["cases"]))["row_id"]
        fixed, wrong, _, _ = compare(now, before, ids)
        yield (
            one["signature"],
            one["n"],
            made.get(one["signature"], 0),
            wrong,
            share(fixed, wrong),
        )


def compare(now: Built, before: Built | None, ids: pl.Series) -> tuple[int, int, int, int]:
    """Of these rows, how many were put right of those that were wrong, and broken of the right."""
    asked = [v["evaluation"].table("rows").filter(arm="candidate") for v in (before or now, now)]
    was, is_now = (rows.select("id", "exact").unique("id") for rows in asked)
    both = was.join(is_now, on="id", suffix="_now").filter(pl.col("id").is_in(ids.implode()))
    wrong, right = both.filter(~pl.col("exact")), both.filter("exact")
    broken = right.height - int(right["exact_now"].sum())
    return int(wrong["exact_now"].sum()), wrong.height, broken, right.height


def line(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


if __name__ == "__main__":
    sys.exit(main())
