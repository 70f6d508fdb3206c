"""Datasets of the Hugging Face hub at a pinned revision, streamed; no code of the dataset runs.

A copy that `hf download` put into the local cache is read without any network. When there is
neither a copy nor a connection, one line says what is missing and how to go on.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from curation.plugins import Secret, plugin
from curation.rows import canonical_json
from curation.sources._base import Record
from curation.sources._hub_card import CARDS, check_card, check_repo, check_snapshot
from curation.sources.jsonl import record_of_text


@plugin()
def hub(
    *,
    repo: str,
    revision: str,
    name: str | None = None,
    hub_split: str = "train",
    token: Secret | None = None,
    max_chars: int = 1_000_000,
) -> Callable[[], Iterator[Record]]:
    """Records of `repo` at the commit `revision`; positions are `repo/train:12`, counted from 1.

    `name` is the dataset's configuration, `hub_split` its split on the hub, `token` the environment
    variable with a read token. Raises `ValueError` when `repo` is not `owner/name`, and when
    `revision` is not a commit hash: a branch moves, and the same recipe would read other rows.
    Reading raises `ValueError` when the card names files that are not the repository's, and
    `FileNotFoundError` with one line when the dataset cannot be had.
    """
    check_repo(repo)
    if not re.fullmatch("[0-9a-f]{7,40}", revision):
        raise ValueError(
            f"revision {revision!r} is not a commit hash; copy one from "
            f"https://huggingface.co/datasets/{repo}/commits/main"
        )

    def read() -> Iterator[Record]:
        secret = os.environ.get(token) if token else None
        try:
            rows = _open(repo, revision, name, hub_split, secret)
            for number, row in enumerate(rows, 1):
                yield _record(f"{repo}/{hub_split}:{number}", dict(row), max_chars)
        except OSError as error:  # also in the middle of the stream: never fewer rows in silence
            raise FileNotFoundError(_how_to_go_on(repo, revision, error)) from None

    return read


def _open(repo: str, revision: str, name: str | None, split: str, token: str | None) -> Any:
    from datasets import load_dataset

    local = _local_copy(repo, revision)
    arguments: dict[str, Any] = {"name": name, "split": split, "streaming": True}
    try:
        if local is not None:
            check_snapshot(local)
            return load_dataset(str(local), **arguments)
        _check_remote_cards(repo, revision, token)
        return load_dataset(repo, revision=revision, token=token, **arguments)
    except ValueError as error:  # an unknown configuration or split; the message lists the known
        raise ValueError(f"{repo}@{revision}: {_one_line(error)}") from None
    except RuntimeError as error:  # the dataset needs code of its own, which never runs here
        raise FileNotFoundError(_how_to_go_on(repo, revision, error)) from None


def _check_remote_cards(repo: str, revision: str, token: str | None) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in CARDS:
        try:
            path = hf_hub_download(repo, name, repo_type="dataset", revision=revision, token=token)
        except LocalEntryNotFoundError:  # no connection, which is another matter than no card
            raise
        except EntryNotFoundError:
            continue
        check_card(Path(path).read_text(encoding="utf-8"), where=name)


def _local_copy(repo: str, revision: str) -> Path | None:
    """The snapshot folder in the hub cache (under HF_HOME); a short hash finds its full one."""
    from huggingface_hub import constants

    snapshots = Path(constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.glob(f"{revision}*"))
    return found[0] if len(found) == 1 else None


def _how_to_go_on(repo: str, revision: str, error: Exception) -> str:
    return (
        f"dataset {repo!r} at {revision} is neither in the local hub cache nor reachable "
        f"({type(error).__name__}: {_one_line(error)}); on a machine with network run "
        f"`hf download {repo} --repo-type dataset --revision {revision}`, carry its HF_HOME folder "
        "here, or save the rows to a file and use: jsonl"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _record(position: str, row: dict[str, Any], max_chars: int) -> Record:
    try:
        text = canonical_json(row)
    except (TypeError, ValueError) as error:
        return Record(position, None, f"not JSON: {_one_line(error)}")
    if len(text) > max_chars:
        return Record(position, None, f"longer than {max_chars:,} characters", text[:2000])
    return record_of_text(position, text)
