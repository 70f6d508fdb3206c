"""How fast and in which way an endpoint may be asked: the option `calls` of what asks one.

Every plug-in that asks a language model has this one option, so that none repeats the list.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """Limits of the endpoint, answers to one request, and whether its batches are used.

    Limits are those of the account; without them the client finds what the endpoint bears.
    `max_answers` bounds what is paid for one request whose answers nobody can read. `batch` hands
    requests in together and waits for hours, which most providers sell at half the price.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_answers: int = 3
    batch: bool = False

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "max_answers"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value!r}; it has to be more than 0")
