"""semhash with its default model, or with the one of its family that knows Chinese.

It compares meanings by the cosine of embeddings; its own threshold stands, as a Jaccard index says
nothing about a cosine.
"""

from typing import Any

from _measure import measure, not_kept

MODELS = {
    "default": "minishlab/potion-base-8M",
    "multilingual": "minishlab/potion-multilingual-128M",
}


def load(options: Any) -> Any:
    from model2vec import StaticModel
    from semhash import SemHash

    return SemHash, StaticModel.from_pretrained(options.model or MODELS[options.setting])


def work(loaded: Any, rows: Any, options: Any) -> dict[int, int]:
    SemHash, model = loaded
    texts = [row["text"] for row in rows]
    selected = SemHash.from_records(records=texts, model=model).self_deduplicate().selected
    first: dict[str, int] = {}
    for line, text in enumerate(texts):
        first.setdefault(text, line)
    return not_kept(rows, (first[text] for text in selected))


if __name__ == "__main__":
    measure("semhash", load, work)
