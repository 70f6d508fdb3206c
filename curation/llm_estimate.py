"""What calls will cost, before they are made: how many, how long, and how much money at most."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.llm_money import Prices, find_prices, guess_prompt_tokens, most_completion_tokens
from curation.llm_reply import call_key


@dataclass(frozen=True)
class Estimate:
    """Calls to be made and calls that the ledger answers; tokens and dollars of those to be made.

    Prompt tokens are a guess, completion tokens the most that can come.
    """

    model: str
    calls: int
    cached: int
    prompt_tokens: int
    most_completion_tokens: int
    most_usd: float | None
    """None where nobody knows the prices."""

    def line(self) -> str:
        """The estimate for people."""
        paid = f", {self.cached:,} paid for before" if self.cached else ""
        tokens = (
            f"about {self.prompt_tokens:,} tokens to read and at most "
            f"{self.most_completion_tokens:,} to write"
        )
        cost = "cost unknown" if self.most_usd is None else f"at most ${self.most_usd:,.2f}"
        return f"{self.model}: {self.calls:,} calls to make{paid}; {tokens}, {cost}"


def estimate_calls(
    requests: Sequence[Mapping[str, Any]],
    *,
    base_url: str,
    model: str,
    cache: Path,
    usd_per_m_prompt: float | None = None,
    usd_per_m_completion: float | None = None,
    batch: bool = False,
) -> Estimate:
    """What `complete_all` would do for these requests; nothing is asked and nothing written."""
    prices = find_prices(model, usd_per_m_prompt, usd_per_m_completion, batch=batch)
    asked = {call_key(r, base_url=base_url, model=model): r for r in requests}
    todo = [asked[key] for key in asked.keys() - _paid(cache, asked)]
    return estimate_todo(todo, model=model, prices=prices, cached=len(asked) - len(todo))


def estimate_todo(
    requests: Iterable[Mapping[str, Any]], *, model: str, prices: Prices, cached: int = 0
) -> Estimate:
    """The estimate for requests that are all to be made."""
    sizes = [(guess_prompt_tokens(r), most_completion_tokens(r)) for r in requests]
    asked, said = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
    most_usd = prices.cost_usd(asked, said) if prices.known else None
    return Estimate(model, len(sizes), cached, asked, said, most_usd)


def _paid(cache: Path, keys: Iterable[str]) -> set[str]:
    """The keys that a ledger has an answer to."""
    if not cache.is_file():
        return set()
    with closing(sqlite3.connect(f"{cache.absolute().as_uri()}?mode=ro", uri=True)) as ledger:
        find = "select 1 from calls where key = ? limit 1"
        return {key for key in keys if ledger.execute(find, (key,)).fetchone()}
