"""What a data set of the hub says about where its files are, checked before anything is opened.

The card of a repository may name absolute paths and addresses as its data files, and the loader
would fetch them: a file of this machine, or a server that only this machine can reach.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from curation.sources._files import leads_out

CARDS = ("README.md", ".huggingface.yaml")
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FRONT = re.compile(r"\A\ufeff?---\r?\n(.*?)\r?\n---", re.DOTALL)


def check_repo(repo: str) -> None:
    """Raise `ValueError` when `repo` is no `owner/name`: an address, a path, a format."""
    if not REPO.fullmatch(repo) or ".." in repo:
        raise ValueError(f"repo {repo!r} is no data set of the hub; write owner/name, no address")


def check_card(text: str, *, where: str) -> None:
    """Raise `ValueError` when a card names data files that are not files of its own repository."""
    front = _FRONT.match(text)
    try:
        said = yaml.safe_load(front[1] if front else "" if where.endswith(".md") else text)
    except yaml.YAMLError:
        return  # the loader cannot read it either, and says so
    configs = said.get("configs") if isinstance(said, dict) else None
    for path in _paths(configs):
        parts = path.replace("\\", "/").split("/")
        if "://" in path or "::" in path or path.startswith(("/", "~")) or ".." in parts:
            raise ValueError(f"{where} names {path!r}, which is no file of the data set")


def check_snapshot(snapshot: Path) -> None:
    """Check the cards and the links of a copy in the local cache, whose files are links to blobs.

    Raises `ValueError` for a card that names foreign files, or a link out of the data set's folder.
    """
    for name in CARDS:
        if (snapshot / name).is_file():
            check_card((snapshot / name).read_text(encoding="utf-8"), where=name)
    cache = snapshot.parent.parent
    for file in sorted(snapshot.rglob("*")):
        if not file.is_dir() and (refused := leads_out(file, cache)):
            raise ValueError(f"{file.relative_to(snapshot)} in the local copy: {refused}")


def _paths(value: Any, key: str = "") -> Iterator[str]:
    """Every text under `data_files` or `data_dir`, however it is nested."""
    if isinstance(value, str) and key:
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            files = key or (name if name in ("data_files", "data_dir") else "")
            yield from _paths(inner, files if name != "split" else "")
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, key)
