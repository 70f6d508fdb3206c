"""text-dedup's `minhash` command: n-grams of words, its default, or of characters set apart.

It knows no characters as tokens, so for the second the text comes with spaces between them. Reading
and writing its files is part of its work.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from _measure import measure, not_kept, write_texts

INPUT = Path("input/rows.jsonl")


def load(options: Any) -> Any:
    import datasets
    from text_dedup import logger
    from text_dedup.minhash import main

    datasets.disable_progress_bars()
    logger.setLevel("WARNING")
    write_texts(options, INPUT)
    return datasets, main


def work(loaded: Any, rows: Any, options: Any) -> dict[int, int]:
    datasets, main = loaded
    with tempfile.TemporaryDirectory(dir=".") as folder:
        said = {
            "path": "json", "data_files": INPUT, "split": "train", "column": "text", "num_proc": 1,
            "cache_dir": f"{folder}/cache", "output": f"{folder}/out",
            "threshold": options.threshold,
        }  # fmt: skip
        if options.setting != "default":
            said |= {"ngram": options.size, "min_length": 1, "hash_func": "xxh3"}
        words = [word for name, value in said.items() for word in (f"--{name}", str(value))]
        try:
            main(words, standalone_mode=False)
        except ValueError as error:
            if "__cluster__" not in str(error):
                raise
            sys.exit("error: it drops every row of fewer than 5 words, and fails as none is left")
        return not_kept(rows, datasets.load_from_disk(f"{folder}/out")["line"])


if __name__ == "__main__":
    measure("text-dedup", load, work)
