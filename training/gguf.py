"""GGUF files, for llama.cpp and all that is built on it, by llama.cpp's own converter."""

import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args

GgufType = Literal["f32", "f16", "bf16", "q8_0"]
SCRIPT = "convert_hf_to_gguf.py"


def require_converter(llama_cpp: Path | None, form: str) -> Path:
    """The converter in a checkout of llama.cpp; raises where there is none."""
    if form not in get_args(GgufType):
        raise ValueError(f"GGUF knows {', '.join(get_args(GgufType))} here, not {form!r}")
    if llama_cpp is None:
        raise ValueError("GGUF needs a checkout of llama.cpp: name it by --llama-cpp DIR")
    if not (llama_cpp / SCRIPT).is_file():
        raise FileNotFoundError(f"{str(llama_cpp)!r} has no {SCRIPT}: it is no llama.cpp checkout")
    return llama_cpp / SCRIPT


def write_gguf(model: Path, *, out: Path, llama_cpp: Path | None, form: GgufType = "q8_0") -> None:
    """Convert a merged model's folder into the file `out`; `q8_0` are weights of 8 bits.

    Raises `ValueError` with the converter's last line when it fails, such as for an architecture
    that it does not know.
    """
    script = require_converter(llama_cpp, form)
    command = [sys.executable, script, model, "--outfile", out, "--outtype", form]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode or not out.is_file():
        said = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()[-1]
        raise ValueError(f"{SCRIPT} ended with code {done.returncode}: {said}")
