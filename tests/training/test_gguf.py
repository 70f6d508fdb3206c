"""llama.cpp's converter is called with its own arguments, and its word is passed on."""

from pathlib import Path
from typing import Any

import pytest

from training.gguf import SCRIPT, write_gguf

CONVERTER = """
import argparse, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--outfile", type=pathlib.Path, required=True)
parser.add_argument("--outtype", choices=["f32", "f16", "bf16", "q8_0"], required=True)
args = parser.parse_args()
if not (args.model / "config.json").is_file():
    sys.exit("INFO: loading\\nModel 雀 is not supported")
args.outfile.write_text(f"GGUF {args.outtype}")
"""
"""A stand-in with the arguments of the real one."""


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / SCRIPT).write_text(CONVERTER, encoding="utf-8")
    return tmp_path / "llama.cpp"


def test_the_file_is_of_the_type_that_was_asked_for(llama_cpp: Path, tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    out = tmp_path / "车载 model.gguf"
    write_gguf(tmp_path, out=out, llama_cpp=llama_cpp, form="bf16")
    assert out.read_text() == "GGUF bf16"


def test_what_the_converter_cannot_do_is_one_line(llama_cpp: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="ended with code 1: Model 雀 is not supported$"):
        write_gguf(tmp_path, out=tmp_path / "x.gguf", llama_cpp=llama_cpp)


def test_without_llama_cpp_nothing_is_begun(tmp_path: Path):
    cases: list[Any] = [
        (None, "q8_0", "name it by --llama-cpp DIR"),
        (tmp_path, "q8_0", "it is no llama.cpp checkout"),
        (tmp_path, "q4_k_m", "not 'q4_k_m'"),
    ]
    for place, form, said in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            write_gguf(tmp_path, out=tmp_path / "x.gguf", llama_cpp=place, form=form)
