"""Bringing a model version into use and going back, by people: looked at first, then written down.

Nothing is copied and nothing restarted. Who serves a model asks for the champion's folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curation.disk import sha256_file
from curation.models import ADAPTER, is_whole
from curation.promotions import Promotion, add_promotion, in_use, read_promotions
from curation.registry import champion_now, find_version, registered, say_verdict
from curation.store import Store, Version

SUMS = "SHA256SUMS"


def promote(
    store: Store, recipe: str, name: str, *, by: str = "", reason: str = ""
) -> Promotion | None:
    """Bring a version into use that the gate did not, or not any more; None where it is already.

    Raises `LookupError` for an unknown version, and what `require_loadable` raises.
    """
    wanted = find_version(store, recipe, name)
    log = read_promotions(store, recipe)
    now = champion_now(store, recipe)
    if now and now.values["id"] == wanted.values["id"]:
        return None
    require_loadable(wanted)
    if now and not log:  # of a store that had no log yet: what a rollback is to come back to
        log = [_add(store, recipe, log, now, at=now.published_at or 0.0)]
    return _add(store, recipe, log, wanted, by=by or "people", reason=reason)


def roll_back(store: Store, recipe: str, *, by: str = "", reason: str = "") -> Promotion:
    """Bring the version that was in use before the present one into use again.

    Raises `LookupError` when there was none, and what `require_loadable` raises.
    """
    log, now = read_promotions(store, recipe), champion_now(store, recipe)
    ids = [turn.id for turn in in_use(log)]
    if now is None or now.values["id"] not in ids[1:]:
        said = f"v{now.values['number']} is the first" if now else "none was promoted yet"
        raise LookupError(f"no version of {recipe!r} was in use before: {said}")
    before = find_version(store, recipe, ids[ids.index(now.values["id"], 1) - 1])
    require_loadable(before)
    return _add(
        store, recipe, log, before, action="rollback", by=by or "people", reason=reason
    )  # fmt: skip


def list_models(store: Store, recipe: str) -> list[dict[str, Any]]:
    """Every version by number: the gate's verdict, whether it is in use, and how it came to be."""
    champion = champion_now(store, recipe)
    last = {entry.id: entry for entry in read_promotions(store, recipe)}
    return [_describe(entry, champion, last.get(entry.values["id"])) for entry in
            registered(store, recipe)]  # fmt: skip


def require_loadable(version: Version) -> None:
    """Look at all that using a version needs: its folder, its checksums, its weights, its base.

    Raises `ValueError` with what is wrong, and `Corrupt` when the store's own bytes changed.
    """
    label = f"v{version.values['number']}"
    key = version.manifest["folders"].get("version")
    if key is None:
        raise ValueError(f"{label} cannot be brought into use: it was stored without its folder")
    folder = version.store.folder(key, anew=True)
    for problem in (wrong_sum(folder), _wrong_adapter(folder / "adapter"), _wrong_base(version)):
        if problem:
            raise ValueError(f"{label} cannot be brought into use: {problem}")


def wrong_sum(folder: Path) -> str:
    """The first file that is not what its checksums say, or that they do not name; "" for none."""
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    said = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {SUMS}
    if odd := sorted(there ^ said.keys()):
        return f"{odd[0]!r} is " + ("missing" if odd[0] in said else f"not in {SUMS}")
    changed = [name for name in sorted(said) if sha256_file(folder / name) != said[name]]
    return f"{changed[0]!r} is not what {SUMS} says" if changed else ""


def _wrong_adapter(folder: Path) -> str:
    """What is wrong with an adapter, or with the whole model that full fine-tuning leaves."""
    from safetensors import SafetensorError, safe_open

    whole = is_whole(folder)
    name, says = ("config.json", "model_type") if whole else ("adapter_config.json", "peft_type")
    files = sorted(folder.glob("model*.safetensors")) if whole else [folder / ADAPTER]
    try:
        config = json.loads((folder / name).read_text("utf-8"))
        held = 0
        for file in files:
            with safe_open(file, framework="np") as weights:
                held += len([*weights.keys()])
    except FileNotFoundError as error:
        return f"the adapter has no {Path(error.filename or ADAPTER).name}"
    except (ValueError, SafetensorError) as error:
        return f"the adapter cannot be read: {error}"
    if not isinstance(config, dict) or not config.get(says):
        return f"the adapter's config names no {says}"
    return "" if held else "the adapter holds no weights"


def _wrong_base(version: Version) -> str:
    """A base model of ours must be whole; one from a hub is known by its id."""
    base = version.input("base_model")
    if base.manifest["folders"]:
        base.store.folder(base.manifest["folders"]["model"], anew=True)
        return ""
    named = str(base.values.get("model", ""))
    if Path(named).is_absolute() and not Path(named).is_dir():
        return f"the base model {named!r} is not there"
    return "" if named else "its base model is not known"


def _describe(entry: Version, champion: Version | None, last: Promotion | None) -> dict[str, Any]:
    values = entry.values
    said = {k: values[k] for k in ("number", "id")}
    said["champion"] = bool(champion and champion.values["id"] == values["id"])
    said["verdict"] = say_verdict(values)
    said["reasons"] = list(values["verdict"].get("reasons", ()))
    said["metrics"] = values["metrics"]["candidate"]
    came = last and {"action": last.action, "by": last.by, "reason": last.reason, "at": last.at}
    return {**said, "last": came or None}


def _add(store: Store, recipe: str, log: Sequence[Promotion], entry: Version, **said: Any):
    told = {"action": "promote", "by": "gate", **said}
    return add_promotion(
        store, recipe, log, number=entry.values["number"], id=entry.values["id"], **told
    )
