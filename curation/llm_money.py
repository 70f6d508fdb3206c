"""What calls cost: prices by option or by the list, estimates, and a budget nobody passes.

A call's cost is known when its answer is there. So the most that it can cost is reserved before it
goes out, and settled by what it did cost; calls under way never pass the budget together.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

COMPLETION_TOKENS = 4096
"""What an answer to a request without `max_tokens` is taken to have at most."""
_LIST = Path(__file__).with_name("prices") / "llm.v1.yaml"
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Prices:
    """Dollars for one token of a prompt and of a completion; `known` is false where nobody said."""

    prompt: float = 0.0
    completion: float = 0.0
    known: bool = False

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a call costs that has so many tokens."""
        return prompt_tokens * self.prompt + completion_tokens * self.completion

    def most_usd(self, request: Mapping[str, Any]) -> float:
        """What an answer to a request can cost: a token for each character, and the longest."""
        return self.cost_usd(len(_text(request)), most_completion_tokens(request))


def find_prices(
    model: str,
    usd_per_m_prompt: float | None = None,
    usd_per_m_completion: float | None = None,
    *,
    budget_usd: float | None = None,
    batch: bool = False,
) -> Prices:
    """The prices that are given, else those of the list for the model's name, else unknown ones.

    Listed prices of a `batch` are what the provider takes for one. Raises `ValueError` for a budget
    without prices: it would bound nothing.
    """
    given = (usd_per_m_prompt, usd_per_m_completion)
    prices = Prices()
    if given != (None, None):
        prices = Prices((given[0] or 0.0) / 1e6, (given[1] or 0.0) / 1e6, known=True)
    elif listed := _listed()["models"].get(_SNAPSHOT.sub("", model)):
        share = _listed()["batch"] if batch else 1.0
        prices = Prices(*(usd * share / 1e6 for usd in listed), known=True)
    if budget_usd is not None and prices.prompt + prices.completion <= 0:
        raise ValueError(
            f"a budget needs prices, and {model!r} is not in the list of "
            f"{_listed()['as_of']}: give usd_per_m_prompt and usd_per_m_completion"
        )
    return prices


def guess_prompt_tokens(request: Mapping[str, Any]) -> int:
    """About how many tokens the messages have: a quarter of the ASCII, 0.7 of other characters.

    Tokenizers of today lie between 0.2 and 0.3 for English, and 0.5 and 0.9 for Chinese.
    """
    text = "".join(str(message.get("content") or "") for message in request["messages"])
    ascii_chars = sum(character.isascii() for character in text)
    return round(ascii_chars / 4 + (len(text) - ascii_chars) * 0.7) + 4 * len(request["messages"])


def most_completion_tokens(request: Mapping[str, Any]) -> int:
    """How long an answer can be."""
    asked = request.get("max_tokens") or request.get("max_completion_tokens")
    return asked if isinstance(asked, int) else COMPLETION_TOKENS


class Budget:
    """What was spent and what calls under way may still cost; without a limit all of it fits."""

    def __init__(self, limit_usd: float | None):
        self.limit_usd = limit_usd
        self.spent_usd = self._reserved_usd = 0.0
        self._changed = asyncio.Condition()

    async def reserve(self, cost_usd: float) -> bool:
        """Whether there is room; waits for running calls whose cost is not yet known."""
        limit = self.limit_usd
        if limit is None:
            return True
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    self.spent_usd + cost_usd > limit
                    or self.spent_usd + self._reserved_usd + cost_usd <= limit
                )
            )
            fits = self.spent_usd + cost_usd <= limit
            self._reserved_usd += cost_usd if fits else 0.0
            return fits

    def take(self, cost_usd: float) -> bool:
        """Reserve what there is room for now, without waiting for anything."""
        limit = self.limit_usd
        fits = limit is None or self.spent_usd + self._reserved_usd + cost_usd <= limit
        self._reserved_usd += cost_usd if fits and limit is not None else 0.0
        return fits

    async def settle(self, cost_usd: float) -> None:
        """Give a reservation back, after the true cost was added to `spent_usd`."""
        async with self._changed:
            self._reserved_usd -= cost_usd if self.limit_usd is not None else 0.0
            self._changed.notify_all()


def _text(request: Mapping[str, Any]) -> str:
    return json.dumps(request, ensure_ascii=False)


@cache
def _listed() -> dict[str, Any]:
    return yaml.safe_load(_LIST.read_text(encoding="utf-8"))
