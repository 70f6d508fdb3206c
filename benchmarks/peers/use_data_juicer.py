"""Data-Juicer's `document_minhash_deduplicator`: by words, its default, or by characters.

Characters are what it recommends for Chinese; the window is then the n-gram that fits most rows.
"""

from typing import Any

from _measure import measure, not_kept


def load(options: Any) -> Any:
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import (
        DocumentMinhashDeduplicator,
    )
    from loguru import logger

    logger.remove()
    said: dict[str, Any] = {"jaccard_threshold": options.threshold}
    if options.setting != "default":
        said |= {"tokenization": "character", "window_size": options.size}
    return NestedDataset, DocumentMinhashDeduplicator(**said)


def work(loaded: Any, rows: Any, options: Any) -> dict[int, int]:
    NestedDataset, deduplicate = loaded
    texts = [{"line": line, "text": row["text"]} for line, row in enumerate(rows)]
    signed = NestedDataset.from_list(texts).map(deduplicate.compute_hash)
    kept, _ = deduplicate.process(signed)
    return not_kept(rows, kept["line"])


if __name__ == "__main__":
    measure("py-data-juicer", load, work)
