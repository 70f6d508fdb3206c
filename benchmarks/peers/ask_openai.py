"""The openai library as most use it: 64 calls at a time behind a semaphore, its own retries."""

import asyncio

from _ask import ask


def work(base_url: str, questions: list[str]) -> int:
    import openai

    async def answer_all() -> int:
        gate = asyncio.Semaphore(64)
        async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:

            async def answer(question: str) -> int:
                async with gate:
                    try:
                        await client.chat.completions.create(
                            model="scripted", messages=[{"role": "user", "content": question}]
                        )
                    except openai.APIError:
                        return 0
                return 1

            return sum(await asyncio.gather(*map(answer, questions)))

    return asyncio.run(answer_all())


if __name__ == "__main__":
    ask("openai", work)
