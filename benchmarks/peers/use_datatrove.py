"""datatrove's four MinHash steps: 5-grams of words, its default, or of characters set apart.

By default the words are those of its tokenizer for the language. Its threshold follows from 14
bands of 8 (about 0.72) and is left so. Reading and writing its files is part of its work.
"""

import struct
import tempfile
from pathlib import Path
from typing import Any

from _measure import measure, write_texts

INPUT = Path("input/rows.jsonl")


def load(options: Any) -> Any:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.logging import logger

    logger.remove()
    write_texts(options, INPUT)
    return LocalPipelineExecutor, minhash, JsonlReader, JsonlWriter


def work(loaded: Any, rows: Any, options: Any) -> dict[int, int]:
    Executor, minhash, Reader, Writer = loaded
    default = options.setting == "default"
    config = minhash.MinhashConfig(n_grams=5 if default else options.size)
    language = "zho" if default and options.language == "zh" else "eng"
    with tempfile.TemporaryDirectory(dir=".") as folder:
        signed, found, gone, out = (f"{folder}/{name}" for name in ("s", "b", "r", "out"))
        steps = (
            ([Reader(str(INPUT.parent)),
              minhash.MinhashDedupSignature(signed, config=config, language=language)], 1),
            ([minhash.MinhashDedupBuckets(signed, found, config=config)], config.num_buckets),
            ([minhash.MinhashDedupCluster(found, gone, config=config)], 1),
            ([Reader(str(INPUT.parent)), minhash.MinhashDedupFilter(gone), Writer(out)], 1),
        )  # fmt: skip
        for number, (pipeline, tasks) in enumerate(steps):
            Executor(pipeline, tasks=tasks, workers=1, logging_dir=f"{folder}/{number}").run()
        path = Path(gone) / "000000.remove"
        removed = path.read_bytes() if path.exists() else b""
    return {line: -1 for (line,) in struct.iter_unpack("<I", removed)}


if __name__ == "__main__":
    measure("datatrove", load, work)
