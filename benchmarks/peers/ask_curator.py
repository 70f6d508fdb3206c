"""Bespoke Curator with its openai backend, told the limit of the endpoint.

Untold it asks the endpoint's headers and else keeps to 200 requests a minute, so it is told, as its
guide to online processing recommends. Tokens are set out of the way: an answer of an unknown model
is held to be 4,096 of them.
"""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from _ask import ask

LIMITS = {"max_requests_per_minute": 6_000, "max_tokens_per_minute": 100_000_000}


def work(base_url: str, questions: list[str]) -> int:
    # Its tokenizer's file is fetched from the web unless named; litellm, which it needs, brings it.
    litellm = find_spec("litellm")
    assert litellm and litellm.origin
    words = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ |= {"CURATOR_VIEWER": "0", "TELEMETRY_ENABLED": "0", "OPENAI_API_KEY": "none"}
    os.environ["TIKTOKEN_CACHE_DIR"] = str(words)
    from bespokelabs import curator

    class Asker(curator.LLM):
        def prompt(self, row: dict) -> str:
            return row["question"]

        def parse(self, row: dict, response: str) -> dict:
            return {"answer": response}

    # Rows it gives up after its ten attempts are to be counted, not to end the run.
    told = {"base_url": base_url, "require_all_responses": False, **LIMITS}
    asker = Asker(model_name="scripted", backend="openai", backend_params=told)
    rows = [{"question": question} for question in questions]
    done = asker(rows, working_dir=tempfile.mkdtemp())
    return len(getattr(done, "dataset", done))


if __name__ == "__main__":
    ask("bespokelabs-curator", work)
