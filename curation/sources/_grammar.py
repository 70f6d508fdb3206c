"""Grammar files: words and patterns in YAML, drawn into a prompt with its answer.

    name: in_car
    system: one line that becomes the system message            (optional)
    ratios: {direct: 2}                                         (optional; a pattern counts 1)
    words:
      turn_on: [打开, 开启]                                     an entry is a text ...
      level: [1..3档, 20..100/20%]                              ... a range with step and unit ...
      seat: ["{place}座椅加热", 方向盘加热]                     ... with other words inside ...
      warm: [{what: "{seat}", value: "{level}", ratio: 2}]      ... or parts that belong together
      act: [{say: "{turn_on}{seat}", mean: {do: 打开, what: "{seat}"}, key: "{seat}"}]
    patterns:
      direct: [{say: ["{act}", "{act}吧"], mean: {actions: ["{act}"]}}]

`{word}` is its `say`; inside `mean`, a text that is nothing but `{word}` becomes that word's `mean`
where it has one. `{word.part}` is another part. The same name is the same draw everywhere in one
entry; `{act1}` and `{act2}` are two draws of `act` that differ in `key` (or in `say`).
`{n1+n2}` and `{n1-n2}` calculate; `{word|reverse}` applies one of FUNCTIONS. A `mean` that is text
is the answer as it stands; anything else is written as compact JSON.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml

from curation.plugins import nearest

FUNCTIONS: dict[str, Callable[[str], str]] = {
    "reverse": lambda text: text[::-1],
    "upper": str.upper,
    "lower": str.lower,
    "length": lambda text: str(len(text)),
    "first": lambda text: text[0],
    "last": lambda text: text[-1],
}
_REFERENCE = re.compile(r"\{([a-z_]+\d?)(?:\.([a-z_]+))?(?:([+-])([a-z_]+\d?)|\|([a-z]+))?\}")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:/(\d+))?(\D*)")
_REDRAWS = 20  # tries for a second draw that differs from the first


@dataclass(frozen=True)
class Entry:
    """One alternative: its named parts, and the words that are drawn before they are filled in."""

    ratio: float
    parts: Mapping[str, Any]
    draws: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """A checked grammar file."""

    system: str
    words: Mapping[str, tuple[Entry, ...]]
    patterns: Mapping[str, tuple[Entry, ...]]
    ratios: Mapping[str, float]


def load_grammar(path: Path) -> Grammar:
    """The checked grammar of a file; `ValueError` with one line for the first mistake."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    known = ("name", "system", "ratios", "words", "patterns")
    if not isinstance(data, dict) or not data.get("patterns"):
        raise ValueError(f"{path.name} needs `patterns`: a mapping of names to lists of entries")
    for key in data:
        if key not in known:
            raise ValueError(f"{path.name}: unknown key {key!r}{nearest(key, known)}")
    words = _read_lists(path.name, data.get("words") or {})
    patterns = _read_lists(path.name, data["patterns"])
    loaded = Grammar(data.get("system") or "", words, patterns, data.get("ratios") or {})
    _check(path.name, loaded)
    return loaded


def draw_pair(loaded: Grammar, key: str, *, patterns: Sequence[str] = ()) -> tuple[str, str, str]:
    """Prompt, answer and pattern name of the draw called `key`."""
    rng = random.Random(key)  # text seeds go through sha512: the same on every machine
    names = list(patterns or loaded.patterns)
    name = names[_pick([loaded.ratios.get(n, 1.0) for n in names], rng)]
    parts = _draw(loaded, loaded.patterns[name], rng)
    answer = parts["mean"]
    if not isinstance(answer, str):
        answer = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return parts["say"], answer, name


def count_prompts(loaded: Grammar) -> dict[str, int]:
    """Derivations of each pattern: an upper bound of its distinct prompts."""

    known: dict[str, int] = {}

    def of(entries: Sequence[Entry]) -> int:
        return sum(prod(of_word(_base(d, loaded.words)) for d in entry.draws) for entry in entries)

    def of_word(name: str) -> int:
        if name not in known:
            known[name] = of(loaded.words[name])
        return known[name]

    return {name: of(entries) for name, entries in loaded.patterns.items()}


def _pick(ratios: Sequence[float], rng: random.Random) -> int:
    """Index of one ratio; only `random()` is used, whose sequence Python keeps over versions."""
    rest = rng.random() * sum(ratios)
    for index, ratio in enumerate(ratios):
        rest -= ratio
        if rest < 0:
            return index
    return len(ratios) - 1


def _draw(loaded: Grammar, entries: Sequence[Entry], rng: random.Random) -> dict[str, Any]:
    """One entry with every reference in its parts filled in."""
    entry = entries[_pick([e.ratio for e in entries], rng)]
    drawn: dict[str, dict[str, Any]] = {}
    for name in entry.draws:
        base = _base(name, loaded.words)
        taken = [_key(drawn[d]) for d in drawn if _base(d, loaded.words) == base]
        for _ in range(_REDRAWS):
            drawn[name] = _draw(loaded, loaded.words[base], rng)
            if _key(drawn[name]) not in taken:
                break
    return {
        part: _fill(value, drawn, meaning=part == "mean") for part, value in entry.parts.items()
    }


def _key(parts: Mapping[str, Any]) -> str:
    return str(parts.get("key", parts.get("say", parts)))


def _words_of(name: str, loaded: Grammar) -> tuple[Entry, ...]:
    return loaded.words[_base(name, loaded.words)]


def _base(name: str, words: Mapping[str, Any]) -> str:
    """The list a reference draws from: `act2` is a second draw of `act`."""
    return name if name in words else name.rstrip("0123456789")


def _fill(value: Any, drawn: Mapping[str, Mapping[str, Any]], *, meaning: bool) -> Any:
    if isinstance(value, list):
        return [_fill(v, drawn, meaning=meaning) for v in value]
    if isinstance(value, dict):
        # A key may be drawn as well: {"{field.name}": "{field.value}"}.
        return {
            str(_fill(k, drawn, meaning=False)): _fill(v, drawn, meaning=meaning)
            for k, v in value.items()
        }
    whole = _REFERENCE.fullmatch(value) if meaning else None
    if whole and not any(whole.groups()[1:]) and "mean" in drawn[whole[1]]:
        return drawn[whole[1]]["mean"]
    return _REFERENCE.sub(lambda match: _text(match, drawn), value)


def _text(match: re.Match[str], drawn: Mapping[str, Mapping[str, Any]]) -> str:
    name, part, sign, other, function = match.groups()
    text = str(drawn[name][part or "say"])
    if sign:
        right = int(drawn[other]["say"])
        return str(int(text) + (right if sign == "+" else -right))
    return FUNCTIONS[function](text) if function else text


def _read_lists(where: str, lists: Any) -> dict[str, tuple[Entry, ...]]:
    if not isinstance(lists, dict):
        raise ValueError(f"{where}: `words` and `patterns` are mappings, got {lists!r}")
    for name, entries in lists.items():
        if not isinstance(name, str) or not isinstance(entries, list) or not entries:
            raise ValueError(f"{where}: {name!r} needs a list of entries, got {entries!r}")
    return {
        name: tuple(read for entry in entries for read in _read_entry(f"{where}: {name}", entry))
        for name, entries in lists.items()
    }


def _read_entry(where: str, entry: Any) -> list[Entry]:
    if isinstance(entry, str):
        return [_entry(1.0, {"say": text}) for text in _expand(entry)]
    if not isinstance(entry, dict) or not set(entry) - {"ratio"}:
        raise ValueError(f"{where}: {entry!r} is neither text nor a mapping; quote numbers")
    ratio = entry.get("ratio", 1)
    if not isinstance(ratio, int | float) or not ratio > 0:
        raise ValueError(f"{where}: ratio must be a number above 0, got {ratio!r}")
    parts = {str(k): v for k, v in entry.items() if k != "ratio"}
    odd = [leaf for value in parts.values() for leaf in _leaves(value) if not isinstance(leaf, str)]
    if odd:
        raise ValueError(f"{where}: {odd[0]!r} is not text; put it in quotes")
    says = parts.get("say")
    if not isinstance(says, list):
        return [_entry(float(ratio), parts)]
    return [_entry(ratio / len(says), {**parts, "say": say}) for say in says]


def _entry(ratio: float, parts: Mapping[str, Any]) -> Entry:
    names = (name for match in _references(parts) for name in (match[1], match[4]) if name)
    return Entry(ratio, parts, tuple(dict.fromkeys(names)))


def _expand(text: str) -> list[str]:
    """`16..30度` as fifteen texts; every other text as itself."""
    match = _RANGE.fullmatch(text)
    if not match:
        return [text]
    first, last, step, unit = match.groups()
    return [f"{n}{unit}" for n in range(int(first), int(last) + 1, int(step or 1))]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _references(parts: Mapping[str, Any]) -> Iterator[re.Match[str]]:
    for leaf in _leaves(list(parts.values())):
        if isinstance(leaf, str):
            yield from _REFERENCE.finditer(leaf)


def _check(where: str, loaded: Grammar) -> None:
    for name in loaded.ratios:
        if name not in loaded.patterns:
            raise ValueError(f"{where}: ratios names {name!r}{nearest(name, loaded.patterns)}")
    for name, entries in [*loaded.words.items(), *loaded.patterns.items()]:
        for entry in entries:
            _check_references(f"{where}: {name}", entry, loaded)
    for name, entries in loaded.patterns.items():
        missing = [p for p in ("say", "mean") if any(p not in e.parts for e in entries)]
        if missing:
            raise ValueError(f"{where}: pattern {name!r} has an entry without `{missing[0]}`")
    done: set[str] = set()
    for name in loaded.words:
        _check_circles(where, loaded, (name,), done)


def _check_references(where: str, entry: Entry, loaded: Grammar) -> None:
    """Every reference of the entry leads to words, parts and functions there are."""
    for name in entry.draws:
        if _base(name, loaded.words) not in loaded.words:
            raise ValueError(f"{where}: no words {name!r}{nearest(name, loaded.words)}")
    for match in _references(entry.parts):
        part, function = match[2] or "say", match[5]
        if any(part not in inner.parts for inner in _words_of(match[1], loaded)):
            raise ValueError(f"{where}: not every entry of {match[1]!r} has the part {part!r}")
        if function and function not in FUNCTIONS:
            raise ValueError(f"{where}: no function {function!r}{nearest(function, FUNCTIONS)}")


def _check_circles(where: str, loaded: Grammar, path: tuple[str, ...], done: set[str]) -> None:
    """Walk from the last word of `path` to all it draws from; words in `done` lead to no circle."""
    if path[-1] in path[:-1]:
        raise ValueError(f"{where}: {' -> '.join(path)} goes round in a circle")
    if path[-1] not in done:
        draws = {_base(d, loaded.words) for e in loaded.words[path[-1]] for d in e.draws}
        for base in sorted(draws):
            _check_circles(where, loaded, (*path, base), done)
        done.add(path[-1])
