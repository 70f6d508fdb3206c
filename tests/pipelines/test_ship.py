"""`winnow export-model`: a registered version becomes a folder of its own, or nothing."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from curation.store import Made, Store
from evaluation.predict import load_predictor, predict_answers
from pipelines.cli import main
from tests.conftest import copy_rows
from tests.pipelines.conftest import TINY
from tests.training.test_gguf import CONVERTER
from training.gguf import SCRIPT
from training.sft import train_sft
from training.ship import write_sums

HOW = {"code": "c", "section": None}
ROWS = copy_rows(40, seed=6)


@pytest.fixture(scope="module")
def store(tiny_base: Path, tmp_path_factory) -> Store:
    """v1 as the last stage leaves it."""
    root = tmp_path_factory.mktemp("project")
    train_sft(
        ROWS, base_model=tiny_base, out=root / "v1", method="lora", epochs=1, batch_rows=8, lr=2e-2
    )
    (root / "v1" / "tokens.parquet").unlink()
    ROWS.write_parquet(root / "v1" / "rows.parquet")
    write_sums(root / "v1")
    store = Store(root / "store")
    made = Made(folders={"model": tiny_base}, values={"model": "demo"})
    base = store.write_version("tiny/base_model", made, inputs={}, how=HOW)
    values = {"number": 1, "id": "1" * 32, "promoted": False, "card": "# 座舱 v1\n"}
    made = Made(folders={"version": root / "v1"}, values=values)
    inputs = {"base_model": base}
    store.publish(base)
    store.publish(store.write_version("tiny/model_version", made, inputs=inputs, how=HOW))
    return store


@pytest.fixture
def export(store: Store, tmp_path: Path, capsys):
    def call(*arguments: str) -> tuple[int, str]:
        to = ["--to", str(tmp_path / "座舱 model")]
        where = ["--recipe", str(TINY), "--store", str(store.root)]
        code = main(["export-model", *arguments, *to, *where])
        return code, "".join(capsys.readouterr())

    return call


def test_the_folder_is_whole_and_answers_as_the_version(
    export, store: Store, tiny_base: Path, tmp_path: Path
):
    llama_cpp = tmp_path / "llama.cpp"
    llama_cpp.mkdir()
    (llama_cpp / SCRIPT).write_text(CONVERTER, encoding="utf-8")
    forms = (
        "--dtype",
        "float32",
        "--ollama",
        "--nf4",
        "--gguf",
        "q8_0",
        "--llama-cpp",
        str(llama_cpp),
    )
    code, said = export("v1", *forms)
    assert code == 0 and "answer tokens merging moved the logits by" in said
    folder = tmp_path / "座舱 model"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    listed = (folder / "SHA256SUMS").read_text().splitlines()
    assert {"SHA256SUMS", *(line.split("  ")[1] for line in listed)} == {
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    }
    assert (folder / "README.md").read_text().startswith("# 座舱 v1\n\n## These files\n")
    assert (folder / "nf4" / "model.safetensors").is_file()
    assert "in 4 bits (bitsandbytes NF4), which moved" in (folder / "README.md").read_text()
    modelfile = (folder / "Modelfile").read_text()
    assert modelfile.startswith("FROM ./model-q8_0.gguf\n")
    assert 'SYSTEM """你是车载助手，把指令转成JSON。"""' in modelfile
    prompts = [chat[:-1] for chat in ROWS["messages"].to_list()[:4]]
    version = store.head("tiny/model_version")
    assert version is not None
    wanted = load_predictor(tiny_base, adapter=version.folder("version") / "adapter")
    assert predict_answers(load_predictor(folder), prompts, max_new_tokens=8) == predict_answers(
        wanted, prompts, max_new_tokens=8
    )
    before = hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    code, said = export("v1")
    assert code == 2 and "is there already: name a new folder" in said
    assert hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest() == before


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(export, tmp_path: Path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / SCRIPT).write_text("raise SystemExit('no 雀')")
    for words, reason in (
        (("v1", "--gguf", "q8_0"), "name it by --llama-cpp DIR"),
        (("v7",), "there is no model version 'v7'"),
        (("v1", "--gguf", "f16", "--llama-cpp", str(tmp_path / "broken")), "code 1: no 雀"),
    ):
        code, said = export(*words)
        assert code == 2 and reason in said.splitlines()[-1]
        assert said.count("winnow:") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]
