"""A registered model version as a folder to be served elsewhere: merged, checked, with its card."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.facts import model_path, model_revision
from assets.recipe import Recipe
from curation.chat import load_tokenizer
from curation.progress import Report, silent
from curation.registry import find_version
from curation.release import require_loadable
from curation.store import Store
from training.gguf import GgufType, require_converter, write_gguf
from training.modelfile import write_modelfile
from training.probe import Dtype
from training.quantize import write_nf4
from training.ship import Moved, merge_model, write_sums


@dataclass(frozen=True)
class Form:
    """What the folder is to hold beside the merged weights of `dtype`."""

    dtype: Dtype = "bfloat16"
    ollama: bool = False
    nf4: bool = False
    gguf: GgufType | None = None
    llama_cpp: Path | None = None


def ship_version(
    store: Store, recipe: Recipe, name: str, *, to: Path, form: Form, report: Report = silent
) -> Moved:
    """Write version `name` into the new folder `to`: all of it, or nothing.

    It holds the merged model and its tokenizer, README.md (the model card), what else `form` asks
    for, and SHA256SUMS. Raises `LookupError` for an unknown version, `FileExistsError` where `to`
    holds something, what `require_loadable` raises, and `ValueError` where the merged model is
    not the version.
    """
    if form.gguf:
        require_converter(form.llama_cpp, form.gguf)
    entry = find_version(store, recipe.name, name)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise FileExistsError(f"{str(to)!r} is there already: name a new folder")
    require_loadable(entry)
    folder, base = entry.folder("version"), entry.input("base_model")
    rows = pl.read_parquet(folder / "rows.parquet")
    staged = to.with_name(f".{to.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        moved = merge_model(
            model_path(base),
            folder / "adapter",
            rows,
            out=staged,
            dtype=form.dtype,
            revision=model_revision(base),
            report=report,
        )
        _write_rest(staged, form, recipe.task.system, report)
        card = entry.values["card"].rstrip() + _say_files(form.dtype, moved)
        if form.nf4:
            report("writing 4 bits (NF4)")
            card += _say_nf4(write_nf4(staged, rows, out=staged / "nf4"))
        (staged / "README.md").write_text(card, encoding="utf-8")
        write_sums(staged)
        staged.replace(to)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return moved


def _write_rest(folder: Path, form: Form, system: str, report: Report) -> None:
    weights = "."
    if form.gguf:
        report(f"converting to GGUF ({form.gguf})")
        weights = f"./model-{form.gguf}.gguf"
        write_gguf(folder, out=folder / weights, llama_cpp=form.llama_cpp, form=form.gguf)
    if form.ollama:
        text = write_modelfile(load_tokenizer(folder), weights=weights, system=system)
        (folder / "Modelfile").write_text(text, encoding="utf-8")


def _say_files(dtype: str, moved: Moved) -> str:
    return (
        "\n\n## These files\n\n"
        f"Adapter and base model merged into one model, rounded to {dtype}. Loaded anew, it was "
        f"held against the two of them: {moved.line()}. The version was evaluated as base and "
        "adapter, greedily. `sha256sum -c SHA256SUMS` says whether the files are whole.\n"
    )


def _say_nf4(distance: float) -> str:
    return (
        f"\n`nf4/` is the same model in 4 bits (bitsandbytes NF4), which moved the logits by "
        f"{distance:.2g} of their spread. It was not evaluated.\n"
    )
