"""What each question of lineage costs, and a preview, asked of a project that `store.py` has built.

    .venv/bin/python benchmarks/questions.py FOLDER [--versions 20]

Each is asked three times, of a store just opened, and the median counts.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder with bench.yaml and store")
    parser.add_argument("--versions", type=int, default=20, help="compare the first with this one")
    parser.add_argument("--json", action="store_true", help="the medians as one line of JSON")
    args = parser.parse_args()
    found = ask_all(args.folder, args.versions)
    lines = [f"{name}: {value:,.2f}" for name, value in found.items()]
    print(json.dumps(found) if args.json else "\n".join(lines))
    return 0


def ask_all(folder: Path, versions: int) -> dict[str, float]:
    """Median seconds of each question; the card is a value of the manifest that `model` reads."""
    from assets.recipe import load_recipe
    from curation import lineage
    from curation.preview import preview_rules
    from curation.store import Store

    recipe = load_recipe(folder / "bench.yaml")
    store, task = Store(folder / "store"), recipe.task
    rows = head(store, "training_set").table("rows", ["id", "messages"])
    row = rows.row(rows.height // 2, named=True)
    text, name, old, new = row["messages"][-2]["content"], "bench", "v1", f"v{versions}"
    case = head(store, "split_rows").table("exam", ["messages"])["messages"][0][-2]["content"]
    reported = head(store, "bad_cases").table("rows")["prompt"][0]
    used = f"{versions} versions"
    asked: dict[str, Callable[[Any], Any]] = {
        "model: what a version is": lambda s: lineage.explain_model(s, name, "latest"),
        "rows: all of a version": lambda s: lineage.training_rows(s, name, "latest"),
        "rows: of a source": lambda s: lineage.training_rows(
            s, name, "latest", where="source = 'seeds'"
        ),
        "why: a row by id": lambda s: lineage.explain_row(s, name, row["id"]),
        "why: rows by text": lambda s: lineage.explain_row(s, name, text),
        "diff: last and first version": lambda s: lineage.compare_models(s, name, old, new),
        f"trace: a bad case, {used}": lambda s: lineage.trace_case(s, name, reported),
        "trace: a case nobody delivered": lambda s: lineage.trace_case(s, name, text),
        f"who-used: a row, {used}": lambda s: lineage.find_users(s, name, row["id"]),
        f"who-used: a text, {used}": lambda s: lineage.find_users(s, name, text),
        f"who-used: a source, {used}": lambda s: lineage.find_users(s, name, "general"),
        f"who-used: a licence, {used}": lambda s: lineage.find_users(s, name, "Apache-2.0"),
        "blame: a case of the exam": lambda s: lineage.blame_case(s, name, case, task=task),
        "leak: all of a version": lambda s: lineage.find_model_leaks(s, name, "latest", task=task),
        "reproduce: the plan": lambda s: lineage.plan_reproduction(s, name, "latest"),
        "at: the champion now": lambda s: lineage.find_champion_at(s, name, "now"),
        "export: OpenLineage": lambda s: lineage.write_openlineage(
            s, name, "latest", folder / "events.ndjson"
        ),
        "export: a Hugging Face folder": lambda s: lineage.write_hf_dataset(
            s, name, "latest", folder / "hf"
        ),
        "export: a LLaMA-Factory folder": lambda s: lineage.write_llama_factory(
            s, name, "latest", folder / "llama-factory"
        ),
        "preview: another rule for every row": lambda s: preview_rules(
            head(s, "kept_rows"), recipe.keep, ["length <= 60"], guard=recipe.options["guard"]
        ),
    }
    found: dict[str, float] = {"rows trained on": rows.height}
    for question, ask in asked.items():
        times = [timed(lambda ask=ask: ask(Store(folder / "store")))[0] for _ in range(3)]
        found[f"{question} s"] = median(times)
        print(f"{question}: " + ", ".join(f"{s:.2f} s" for s in times), file=sys.stderr)
    store, present = Store(folder / "store"), {}
    check = timed(lambda: lineage.check_reproduction(store, name, "latest", present=present))
    return found | {
        "every byte of a version checked s": check[0],
        "asking: peak memory GB": peak_gb(),
    }


def head(store: Any, name: str) -> Any:
    """The newest version of a step."""
    version = store.head(f"bench/{name}")
    assert version is not None, name
    return version


def peak_gb() -> float:
    """The most memory this program ever held; `ru_maxrss` would count what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of some work, and what it gave."""
    started = time.monotonic()
    result = work()
    return time.monotonic() - started, result


if __name__ == "__main__":
    sys.exit(main())
