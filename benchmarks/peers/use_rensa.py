"""rensa as its README shows, of words or of our n-grams, and by its sampled sketches (rho).

The sampled ones only flag rows that may have a duplicate among the others; which of them stay is
decided by the deduplicator of the README, as nothing else in the library does.
"""

from typing import Any

from _measure import grams, measure

PERMUTATIONS = 128


def load(options: Any) -> Any:
    import rensa

    return rensa


def work(rensa: Any, rows: Any, options: Any) -> dict[int, int]:
    split = _words if options.setting == "default" else grams
    lines = range(len(rows))
    if options.setting == "rho":
        lines = _flagged(rensa, rows, options.threshold)
    index = rensa.RMinHashDeduplicator(
        threshold=options.threshold, num_perm=PERMUTATIONS, use_lsh=True
    )
    kept = index.add_pairs((str(line), split(rows[line])) for line in lines)
    return {line: -1 for line, stays in zip(lines, kept, strict=True) if not stays}


def _flagged(rensa: Any, rows: Any, threshold: float) -> list[int]:
    matrix = rensa.RMinHash.digest_matrix_from_token_sets_rho(
        (grams(row) for row in rows), PERMUTATIONS, 42
    )
    index = rensa.RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=8)
    flags = index.query_duplicate_flags_matrix_one_shot(matrix)
    return [line for line, flag in enumerate(flags) if flag]


def _words(row: Any) -> list[str]:
    return row["text"].split()


if __name__ == "__main__":
    measure("rensa", load, work)
