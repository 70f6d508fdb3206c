"""Folders that other tools load as they are: a Hugging Face dataset and a LLaMA-Factory one.

Every file is written whole or not at all, and the file that names the others last.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from curation.disk import Disk
from curation.export import export_rows, write_whole
from curation.formats_write import write_sharegpt
from curation.lineage.rows import training_rows
from curation.lineage.views import model_view
from curation.rows import ROW_SCHEMA
from curation.store import Store

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_LANGUAGES = {"zh": ["zh"], "en": ["en"], "mixed": ["zh", "en"]}
_TAGS = {
    **{"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"},
    **{"observation_tag": "observation", "function_tag": "function_call", "system_tag": "system"},
}


def write_hf_dataset(
    store: Store, recipe: str, name: str, to: Path, *, where: str = "", disk: Disk | None = None
) -> dict[str, int]:
    """`lineage export --hf`: Parquet and a dataset card that `load_dataset(folder)` reads.

    `repeats` says how often a row was trained on. Returns `rows`.
    """
    rows = training_rows(store, recipe, name, where=where).select(*ROW_SCHEMA.names(), "repeats")
    _require_rows(rows, where)
    view = model_view(store, recipe, name)
    assert view.entry, "a model view has its entry"
    export_rows(rows, to / "data" / "train.parquet", form="parquet", disk=disk)
    sources = view.entry.values["lineage"]["sources"]
    used = {s: said for s, said in sources.items() if said["direct"] or said["through"]}
    card = dataset_card(f"{recipe} {view.label}", rows, used)
    write_whole(to / "README.md", card, disk=disk)
    return {"rows": rows.height}


def dataset_card(title: str, rows: pl.DataFrame, sources: dict[str, dict[str, Any]]) -> str:
    """The README of a dataset folder, with the header the Hub reads."""
    languages = {code for lang in rows["lang"].unique() for code in _LANGUAGES.get(lang, [])}
    licences = sorted({said["license"].lower() for said in sources.values() if said["license"]})
    unstated = [name for name, said in sources.items() if not said["license"]]
    header: dict[str, Any] = {
        "pretty_name": title,
        "language": sorted(languages),
        "license": licences[0] if len(licences) == 1 and not unstated else "other",
        "size_categories": [next((s for n, s in _SIZES if rows.height < n), "n>1M")],
        "task_categories": ["text-generation"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train.parquet"}],
            }
        ],
    }
    lines = [
        f"- `{name}`: licence {said['license'] or 'not stated'}, "
        f"revision {said['revision'] or 'not stated'}, {said['direct']:,} rows, "
        f"{said['through']:,} made from it"
        for name, said in sources.items()
    ]
    head = yaml.safe_dump(header, allow_unicode=True, sort_keys=False)
    return (
        f"---\n{head}---\n\n# Training rows of {title}\n\n{rows.height:,} rows, each "
        "a conversation in `messages`. `repeats` says how often a row was trained on.\n\n"
        "## Sources\n\n" + "\n".join(lines) + "\n"
    )


def write_llama_factory(
    store: Store, recipe: str, name: str, to: Path, *, where: str = "", disk: Disk | None = None
) -> dict[str, int]:
    """`lineage export --llama-factory`: dataset_info.json and ShareGPT rows with system and tools.

    A row that is trained on twice stands in twice. Returns `rows`, and `left_out`: rows whose turns
    do not alternate, which LLaMA-Factory would drop without a word.
    """
    rows = training_rows(store, recipe, name, where=where)
    _require_rows(rows, where)
    view = model_view(store, recipe, name)
    key = f"{recipe}_{view.label}"
    records, left_out = [], 0
    for row in rows.select("messages", "tools", "repeats").to_dicts():
        record = write_sharegpt(row["messages"], row["tools"], {})
        if not _alternates(record["conversations"]):
            left_out += 1
            continue
        full = {"conversations": [{"from": t["from"], "value": t["value"]}
                                  for t in record["conversations"]],
                "system": record.get("system", ""), "tools": record.get("tools", "")}  # fmt: skip
        records += [full] * row["repeats"]
    text = "[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in records) + "\n]\n"
    write_whole(to / f"{key}.json", text, disk=disk)
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    info = {"file_name": f"{key}.json", "formatting": "sharegpt", "columns": columns, "tags": _TAGS}
    write_whole(to / "dataset_info.json", json.dumps({key: info}, indent=2) + "\n", disk=disk)
    return {"rows": len(records), "left_out": left_out}


def _alternates(turns: list[dict[str, str]]) -> bool:
    """Whether a side that asks and a side that answers take turns, and the latter is last."""
    asks = ("human", "observation")
    fits = [(t["from"] in asks) == (i % 2 == 0) for i, t in enumerate(turns)]
    return len(turns) % 2 == 0 and all(fits) and all(t["from"] != "system" for t in turns)


def _require_rows(rows: pl.DataFrame, where: str) -> None:
    if rows.is_empty():
        raise ValueError(f"no trained row meets --where {where!r}; nothing was written")
