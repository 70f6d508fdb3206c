"""Source `grammar`: widens a YAML grammar into as many distinct labelled rows as are asked for.

The idea: text and answer are drawn together, so every row is labelled by construction.

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

import hashlib
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curation.plugins import nearest, plugin
from curation.rows import dialogue
from curation.sources._base import Record

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
_PATIENCE = 200  # draws in a row that bring nothing new before the grammar counts as used up
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


@plugin()
def grammar(
    *,
    path: Path,
    rows: int,
    seed: int = 0,
    patterns: list[str] | None = None,
    fold: int = 0,
    folds: int = 1,
) -> Callable[[], Iterator[Record]]:
    """Yields `rows` records `{"messages", "category"}` with distinct prompts; category = pattern.

    Draw number i depends on (seed, i) alone, so asking for more rows keeps the earlier ones. With
    `folds` > 1 only prompts whose digest falls into `fold` come out: two sources with different
    folds never share a prompt. Raises `ValueError` for a mistake in the file, and while reading
    when the grammar has fewer distinct prompts than asked for.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold must lie in 0..{folds - 1}, got {fold!r}")
    loaded = load_grammar(path)
    for name in patterns or ():
        if name not in loaded.patterns:
            raise ValueError(f"{path.name}: no pattern {name!r}{nearest(name, loaded.patterns)}")

    def read() -> Iterator[Record]:
        seen: set[str] = set()
        number = last = 0
        while len(seen) < rows:
            prompt, answer, name = draw_pair(loaded, f"{seed}:{number}", patterns=patterns or ())
            key = prompt_key(prompt)
            if key not in seen and _fold_of(key, folds) == fold:
                seen.add(key)
                last = number
                turns = dialogue(prompt, answer, system=loaded.system)
                yield Record(f"{path.name}#{number}", {"messages": turns, "category": name})
            number += 1
            if number - last > _PATIENCE * folds:
                raise ValueError(f"{path.name} gave {len(seen)} distinct prompts; rows asks for {rows}")

    return read


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
    mean = parts["mean"]
    answer = mean if isinstance(mean, str) else json.dumps(mean, ensure_ascii=False, separators=(",", ":"))
    return parts["say"], answer, name


def count_prompts(loaded: Grammar) -> dict[str, int]:
    """Derivations of each pattern: an upper bound of its distinct prompts."""

    def of(entries: Sequence[Entry]) -> int:
        return sum(_product([of(loaded.words[_base(d, loaded.words)]) for d in e.draws]) for e in entries)

    return {name: of(entries) for name, entries in loaded.patterns.items()}


def prompt_key(prompt: str) -> str:
    """The prompt without width, case and spaces: prompts with one key count as the same."""
    return "".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def _fold_of(key: str, folds: int) -> int:
    return int.from_bytes(hashlib.sha256(f"fold:{key}".encode()).digest()[:8], "big") % folds


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
    return {part: _fill(value, drawn, meaning=part == "mean") for part, value in entry.parts.items()}


def _key(parts: Mapping[str, Any]) -> str:
    return str(parts.get("key", parts.get("say", parts)))


def _base(name: str, words: Mapping[str, Any]) -> str:
    """The list a reference draws from: `act2` is a second draw of `act`."""
    return name if name in words else name.rstrip("0123456789")


def _fill(value: Any, drawn: Mapping[str, Mapping[str, Any]], *, meaning: bool) -> Any:
    if isinstance(value, list):
        return [_fill(v, drawn, meaning=meaning) for v in value]
    if isinstance(value, dict):
        # A key may be drawn as well: {"{field.name}": "{field.value}"}.
        return {str(_fill(k, drawn, meaning=False)): _fill(v, drawn, meaning=meaning) for k, v in value.items()}
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


def _product(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def _read_lists(where: str, lists: Any) -> dict[str, tuple[Entry, ...]]:
    if not isinstance(lists, dict):
        raise ValueError(f"{where}: `words` and `patterns` are mappings, got {lists!r}")
    for name, entries in lists.items():
        if not isinstance(name, str) or not isinstance(entries, list) or not entries:
            raise ValueError(f"{where}: {name!r} needs a list of entries, got {entries!r}")
    return {n: tuple(e for x in xs for e in _read_entry(f"{where}: {n}", x)) for n, xs in lists.items()}


def _read_entry(where: str, entry: Any) -> list[Entry]:
    if isinstance(entry, str):
        return [_entry(1.0, {"say": text}) for text in _expand(entry)]
    if not isinstance(entry, dict) or not set(entry) - {"ratio"}:
        raise ValueError(f"{where}: an entry is text or a mapping, got {entry!r}; put numbers in quotes")
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
    names = [n for leaf in _leaves(list(parts.values())) for m in _matches(leaf) for n in (m[1], m[4]) if n]
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


def _matches(leaf: Any) -> list[re.Match[str]]:
    return list(_REFERENCE.finditer(leaf)) if isinstance(leaf, str) else []


def _check(where: str, loaded: Grammar) -> None:
    for name in loaded.ratios:
        if name not in loaded.patterns:
            raise ValueError(f"{where}: ratios names {name!r}{nearest(name, loaded.patterns)}")
    for name, entries in loaded.patterns.items():
        for entry in entries:
            missing = [part for part in ("say", "mean") if part not in entry.parts]
            if missing:
                raise ValueError(f"{where}: pattern {name!r} has an entry without `{missing[0]}`")
            _check_entry(f"{where}: {name}", entry, loaded, ())
    for name, entries in loaded.words.items():
        for entry in entries:
            _check_entry(f"{where}: {name}", entry, loaded, (name,))


def _check_entry(where: str, entry: Entry, loaded: Grammar, path: tuple[str, ...]) -> None:
    for match in (m for leaf in _leaves(list(entry.parts.values())) for m in _matches(leaf)):
        name, part, _, other, function = match.groups()
        for used in filter(None, (name, other)):
            base = _base(used, loaded.words)
            if base not in loaded.words:
                raise ValueError(f"{where}: no words are called {used!r}{nearest(used, loaded.words)}")
            if base in path:
                raise ValueError(f"{where}: {' -> '.join((*path, base))} goes round in a circle")
        entries = loaded.words[_base(name, loaded.words)]
        if any((part or "say") not in e.parts for e in entries):
            raise ValueError(f"{where}: not every entry of {name!r} has the part {part or 'say'!r}")
        if function and function not in FUNCTIONS:
            raise ValueError(f"{where}: no function {function!r}{nearest(function, FUNCTIONS)}")
    for base in {_base(d, loaded.words) for d in entry.draws}:
        for inner in loaded.words[base]:
            _check_entry(where, inner, loaded, (*path, base))
