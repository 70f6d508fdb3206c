"""datasketch row by row as its README shows, or by `MinHash.bulk` with xxhash, into MinHashLSH.

A row goes when the index answers with a row that was kept. What the n-grams are is left to the
caller, so they are ours.
"""

from typing import Any

from _measure import grams, measure

PERMUTATIONS = 128


def load(options: Any) -> Any:
    import datasketch
    import xxhash

    index = datasketch.MinHashLSH(threshold=options.threshold, num_perm=PERMUTATIONS)
    return datasketch, xxhash.xxh32_intdigest, (index.b, index.r)


def work(loaded: Any, rows: Any, options: Any) -> dict[int, int]:
    datasketch, hash_gram, bands = loaded
    sign = _sign_each if options.setting == "README loop" else _sign_in_bulk
    index = datasketch.MinHashLSH(num_perm=PERMUTATIONS, params=bands)
    dropped = {}
    for line, signature in enumerate(sign(datasketch.MinHash, rows, hash_gram)):
        found = index.query(signature)
        if found:
            dropped[line] = min(found)
        else:
            index.insert(line, signature)
    return dropped


def _sign_each(MinHash: Any, rows: Any, _: Any) -> Any:
    for row in rows:
        signature = MinHash(num_perm=PERMUTATIONS)
        for gram in grams(row):
            signature.update(gram.encode("utf8"))
        yield signature


def _sign_in_bulk(MinHash: Any, rows: Any, hash_gram: Any) -> Any:
    texts = ([gram.encode("utf8") for gram in grams(row)] for row in rows)
    return MinHash.bulk(texts, num_perm=PERMUTATIONS, hashfunc=hash_gram)


if __name__ == "__main__":
    measure("datasketch", load, work)
