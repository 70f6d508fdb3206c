"""The way from the door to a model's server: one request, its answer whole or as a stream."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pipelines.model_server import ModelServer


class UpstreamFailed(Exception):
    """A model's server that gave no answer, and the status that says so."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Upstream:
    """Asks servers until it is closed; follows no redirect and asks no proxy."""

    def __init__(self, *, timeout_s: float):
        import openai

        self.timeout_s = timeout_s
        self._client: Any = openai.DefaultAsyncHttpxClient(
            follow_redirects=False, trust_env=False, timeout=timeout_s
        )

    async def close(self) -> None:
        """Let all connections go."""
        await self._client.aclose()

    @asynccontextmanager
    async def ask(self, server: ModelServer, body: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The answer to a chat completion as soon as it begins, open while the block runs.

        Raises `UpstreamFailed` where none begins in time.
        """
        url = f"{server.base_url}/chat/completions"
        request = self._client.build_request("POST", url, json=dict(body))
        answer = await self.within(self._client.send(request, stream=True))
        try:
            yield answer
        finally:
            await answer.aclose()

    async def within(self, work: Any, *, deadline: float | None = None) -> Any:
        """What the client comes to, by a deadline (of the loop's clock) or in the usual time.

        Its own errors have no class that `openai` names, so each is a server that failed.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline or loop.time() + self.timeout_s):
                return await work
        except TimeoutError:
            said = f"the model's server took longer than {self.timeout_s:g} s"
            raise UpstreamFailed(504, said) from None
        except Exception as error:
            said = f"the model's server gave no answer: {type(error).__name__}"
            raise UpstreamFailed(502, said) from None
