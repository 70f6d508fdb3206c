"""Our own client; nothing is said about the endpoint's limit."""

import tempfile
from pathlib import Path

from _ask import ask


def work(base_url: str, questions: list[str]) -> int:
    from curation.llm import complete_all

    requests = [{"messages": [{"role": "user", "content": question}]} for question in questions]
    place = {"base_url": base_url, "api_key": "none", "model": "scripted"}
    cache = Path(tempfile.mkdtemp()) / "calls.sqlite"
    replies = complete_all(requests, cache=cache, concurrency=64, **place)
    return sum(not reply.error for reply in replies)


if __name__ == "__main__":
    ask("openai", work)
