"""How a client of `llm.py` runs: it asks every question of an endpoint and counts the answers.

Only the standard library is needed here: each script runs in the environment of its client. Time is
not taken here but by the endpoint, from the first request to the last answer.
"""

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path


def ask(package: str, work: Callable[[str, list[str]], int]) -> None:
    """Run what the command line says and write the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("output", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    options = parser.parse_args()
    answered = work(options.base_url, [f"第 {n} 问: what is {n}?" for n in range(options.rows)])
    found = {"version": version(package), "answered": answered}
    options.output.write_text(json.dumps(found))
