"""distilabel: a pipeline of one step that generates texts, with its defaults."""

from _ask import ask


def work(base_url: str, questions: list[str]) -> int:
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    with Pipeline(name="calls") as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": question} for question in questions])
        model = OpenAILLM(model="scripted", base_url=base_url, api_key="none")
        load >> TextGeneration(llm=model)
    rows = pipeline.run(use_cache=False)["default"]["train"]
    return sum(answer is not None for answer in rows["generation"])


if __name__ == "__main__":
    ask("distilabel", work)
