"""`winnow alerts`: what the alert sensor found that people should look at."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.cli_parts import Argument, add_command, existing_store, show
from pipelines.cli_text import Lines, aligned, cut, visible

ALERTS_EXAMPLE = "winnow alerts --limit 5"

_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_LIMIT: Argument = (
    ("--limit",),
    {"type": int, "default": 20, "metavar": "N", "help": "so many of the newest (default 20)"},
)


def add_alerts(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    text = "failed rebuilds and rejected versions that the alert sensor found"
    said = list_alerts, text, [_LIMIT, _JSON]
    add_command(commands, "alerts", said, example=ALERTS_EXAMPLE, common=common)


def list_alerts(args: argparse.Namespace) -> int:
    from curation.alerts import read_alerts

    alerts = read_alerts(existing_store(args))
    return show(args, alerts, _say(alerts, args.limit))


def _say(alerts: Sequence[Mapping[str, Any]], limit: int) -> Lines:
    shown = [
        [
            datetime.fromtimestamp(alert["at"], UTC).astimezone().isoformat(timespec="seconds"),
            "told" if alert["told"] else "kept",
            cut(visible(alert["text"]), 160),
        ]
        for alert in alerts[max(len(alerts) - limit, 0) :]
    ]
    yield from aligned(shown) if shown else ()
    yield (
        f"{len(alerts):,} alerts" if alerts else "no alerts; alert_sensor keeps them once it is on"
    )
