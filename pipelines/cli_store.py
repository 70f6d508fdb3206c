"""`winnow store …`: is everything whole, what may go, what stays, and which versions there are.

Exit codes: 0 done, 1 something is damaged or does not add up, 2 the user's mistake.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pipelines.cli_parts import Argument, Command, add_command

STORE_EXAMPLES = {
    "check": "winnow store check --remove-damaged",
    "gc": "winnow store gc --keep 10 --dry-run",
    "pin": "winnow store pin released in_car/model_version@2",
    "unpin": "winnow store unpin released",
    "pins": "winnow store pins",
    "rollback": "winnow store rollback in_car/rows 3",
    "log": "winnow store log in_car/training_set",
}

_GC = (
    "remove old versions, and what nothing that stays needs; who-used knows only what stays, so "
    "pin first what is deployed"
)


def add_store(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of the store to the command line."""
    group = commands.add_parser(
        "store", help="check, clean, pin and roll back what was built"
    ).add_subparsers(required=True, metavar="COMMAND")
    for name, said in _commands().items():
        add_command(group, name, said, example=STORE_EXAMPLES[name], common=common)


_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs"})
_DRY: Argument = (("--dry-run",), {"action": "store_true", "help": "say it and do nothing"})
_REMOVE: Argument = (
    ("--remove-damaged",),
    {"action": "store_true", "help": "remove what is damaged; the next run makes it again"},
)
_KEEP: Argument = (
    ("--keep",),
    {"type": int, "default": 10, "metavar": "N", "help": "versions of each asset (default 10)"},
)
_LABEL: Argument = (("label",), {"help": "a word of your own, such as released"})
_ASSET: Argument = (("asset",), {"help": "such as in_car/rows, or rows"})
_AT: Argument = (("asset",), {"metavar": "ASSET[@N]", "help": "without @N its present version"})
_SEQ: Argument = (("n",), {"type": int, "metavar": "N", "help": "as `winnow store log` says"})


def _commands() -> dict[str, tuple[Command, str, list[Argument]]]:
    return {
        "check": (check_store, "read everything and prove every account", [_REMOVE, _JSON]),
        "gc": (collect, _GC, [_KEEP, _DRY]),
        "pin": (pin_version, "keep a version, and all it was made from, for good", [_LABEL, _AT]),
        "unpin": (unpin_version, "let a pinned version go with the others again", [_LABEL]),
        "pins": (show_pins, "what is pinned", [_JSON]),
        "rollback": (roll_back, "make an earlier version the present one again", [_ASSET, _SEQ]),
        "log": (show_log, "the versions of an asset, newest first", [_ASSET, _JSON]),
    }


def check_store(args: argparse.Namespace) -> int:
    from curation.upkeep import remove_damaged, verify_store

    store = _open(args)
    damage = verify_store(store, report=_report)
    open_accounts, proven = _prove(store)
    if damage and args.remove_damaged:
        store.lock_writer()
        remove_damaged(store, damage)
    if args.json:
        said = {"damage": [asdict(d) for d in damage], "accounts": open_accounts, "proven": proven}
        print(json.dumps(said, ensure_ascii=False, indent=1))
    else:
        print("\n".join([d.line() for d in damage] + open_accounts) or "no damage")
        print(f"{proven:,} links of accounts proven, {len(open_accounts):,} open")
        if damage:
            how = "removed" if args.remove_damaged else "remove it with --remove-damaged"
            print(f"{len(damage):,} damaged: {how}; `winnow run` makes it again")
    return 1 if damage or open_accounts else 0


def collect(args: argparse.Namespace) -> int:
    from curation.upkeep import collect_garbage

    store = _open(args)
    found = collect_garbage(store, keep=args.keep, dry_run=args.dry_run, report=_report)
    print(("would remove " if args.dry_run else "removed ") + found.line(), *found.spared, sep="\n")
    return 0


def pin_version(args: argparse.Namespace) -> int:
    store = _open(args)
    asset, _, seq = args.asset.partition("@")
    name = _name(store, asset)
    n, version = _at(_versions(store, name), name, seq)
    store.pin(args.label, version)
    print(f"{args.label}: {name}@{n} stays until `winnow store unpin {args.label}`")
    return 0


def unpin_version(args: argparse.Namespace) -> int:
    _open(args).unpin(args.label)
    return 0


def show_pins(args: argparse.Namespace) -> int:
    pins = _open(args).pins()
    if args.json:
        said = {label: {"asset": v.name, "version": v.key} for label, v in pins.items()}
        print(json.dumps(said, ensure_ascii=False, indent=1))
        return 0
    for label, version in pins.items():
        print(f"{label}  {version.name}  data {version.data_version[:8]}  {version.key}")
    print(f"{len(pins):,} pinned")
    return 0


def roll_back(args: argparse.Namespace) -> int:
    store = _open(args)
    name = _name(store, args.asset)
    if name.endswith("/model_version"):
        raise ValueError("which model version is in use is changed by `winnow rollback`")
    n, version = _at(_versions(store, name), name, str(args.n))
    store.lock_writer()
    store.rollback(name, version)
    now = max(_versions(store, name))
    print(f"{name}@{now} is {name}@{n} again; a run goes on from what the recipe says then")
    return 0


def show_log(args: argparse.Namespace) -> int:
    store = _open(args)
    name = _name(store, args.asset)
    entries = list(_entries(_versions(store, name)))
    if args.json:
        print(json.dumps(entries, ensure_ascii=False, indent=1))
        return 0
    for entry in entries:
        made = ", ".join(entry["changed"]) or "made first"
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"]))
        rows = "–" if entry["rows"] is None else f"{entry['rows']:,}"
        print(f"{name}@{entry['n']}  {at}  {rows} rows  data {entry['data'][:8]}  {made}")
    return 0


def _entries(versions: dict[int, Any]) -> Iterator[dict[str, Any]]:
    """Versions newest first, each with what was different when it was made."""
    earlier = [*list(versions.values())[1:], None]
    for (n, version), before in zip(versions.items(), earlier, strict=True):
        rows = version.tables.get("rows", {}).get("rows")
        yield {
            "n": n,
            "at": version.published_at,
            "rows": rows,
            "data": version.data_version,
            "changed": _changed(version, before),
            "code": version.manifest["how"].get("code", ""),
            "inputs": version.manifest["inputs"],
            "version": version.key,
        }


def _changed(version: Any, before: Any) -> list[str]:
    """Inputs, code and recipe section that differ from the version before."""
    if before is None:
        return []
    if version.key == before.key:
        return ["the same again"]
    new, old = version.manifest, before.manifest
    inputs = [k for k, key in new["inputs"].items() if key != old["inputs"].get(k)]
    how = [k for k in ("code", "section") if new["how"].get(k) != old["how"].get(k)]
    return [f"other {what}" for what in [*inputs, *how]] or ["other data from outside"]


def _prove(store: Any) -> tuple[list[str], int]:
    """Lines on accounts that do not add up, and how many links do."""
    from curation.accounts import prove_chain
    from curation.store import Corrupt

    links = set()
    for name in store.names():
        try:
            head = store.head(name)
            links |= {(name.partition("/")[0], link) for link in prove_chain(head)}
        except Corrupt as error:
            links.add((name.partition("/")[0], _unread(name, error)))
    wrong = sorted(f"{recipe}/{link.step}: {link.line}" for recipe, link in links if not link.holds)
    return wrong, len(links) - len(wrong)


def _unread(name: str, error: Exception) -> Any:
    from curation.accounts import Link

    return Link(name.partition("/")[2], False, f"cannot be proven: {error}")


def _versions(store: Any, name: str) -> dict[int, Any]:
    """Versions of a step by their place in its history, newest first."""
    places = [int(ref[-13:-5]) for ref in reversed(store.refs(name))]
    return dict(zip(places, store.history(name), strict=True))


def _at(versions: dict[int, Any], name: str, seq: str) -> tuple[int, Any]:
    n = int(seq) if seq.isdecimal() else next(iter(versions)) if not seq else 0
    if n not in versions:
        known = f"{min(versions)} to {max(versions)}"
        raise LookupError(f"{name} has no version {seq!r}; it has {known}")
    return n, versions[n]


def _name(store: Any, asset: str) -> str:
    """The full name of an asset; raises `LookupError` when none or several recipes have it."""
    from curation.plugins import nearest

    names = store.names()
    found = [name for name in names if asset in (name, name.partition("/")[2])]
    if not found:
        raise LookupError(f"nothing was built as {asset!r}{nearest(asset, names)}")
    if len(found) > 1:
        raise LookupError(f"{asset!r} is ambiguous: {' or '.join(found)}")
    return found[0]


def _open(args: argparse.Namespace) -> Any:
    """The store, which must be there."""
    from curation.store import Store
    from pipelines.paths import store_path

    place = store_path(args.store)
    if not isinstance(place, str) and not (place / "format.json").is_file():
        raise FileNotFoundError(f"there is no store at {str(place)!r}: run `winnow run` first")
    return Store(place)


def _report(line: str) -> None:
    print(line, file=sys.stderr)
