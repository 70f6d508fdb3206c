"""Bespoke Curator with its openai backend and its defaults."""

from _ask import ask


def work(base_url: str, questions: list[str]) -> int:
    import os
    import tempfile

    os.environ |= {"CURATOR_VIEWER": "0", "TELEMETRY_ENABLED": "0", "OPENAI_API_KEY": "none"}
    from bespokelabs import curator

    class Asker(curator.LLM):
        def prompt(self, row: dict) -> str:
            return row["question"]

        def parse(self, row: dict, response: str) -> dict:
            return {"answer": response}

    asker = Asker(model_name="scripted", backend="openai", backend_params={"base_url": base_url})
    rows = [{"question": question} for question in questions]
    done = asker(rows, working_dir=tempfile.mkdtemp())
    return len(getattr(done, "dataset", done))


if __name__ == "__main__":
    ask("bespokelabs-curator", work)
