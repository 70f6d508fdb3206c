"""Utterances as templates: which of their pieces are slot values, and what may change together.

Every change is made in the utterance and in the answer at once, from values and sentence frames
that other cases have shown, so a new row is as well labelled as its parents are.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.json_text import parse_json
from curation.rows import canonical_json

Item = dict[str, str]
Fields = dict[str, list[Item]]
Place = tuple[str, int, str]  # field, index of the item, key
Piece = tuple[str, Place | None]  # text and the slot it fills; None for words around the slots
Proposal = tuple[str, str]  # prompt, answer

_NUMBER = re.compile(r"(?<![0-9.A-Za-z])[0-9]+(?:\.[0-9]+)?")
# A quantity: digits, or Chinese numerals before a unit (十分钟, 八点半, 二十二度).
_QUANTITY = re.compile(
    r"-?[0-9]+(?:\.[0-9]+)?|[零一二三四五六七八九十百两半]+(?=[点分度成个秒小天档格半])"
)
_HAN = re.compile("[\u3400-\u9fff]")
_MARK = re.compile("\ue000[^\ue001]*\ue001")  # private use: a slot, when the words around compare


@dataclass(frozen=True)
class Case:
    """A prompt with its right answer, cut into words and slot values.

    Slots with a closed set of values (the verb) are never pieces: words around the slots say them.
    """

    parent: str
    prompt: str
    fields: Fields
    closed: frozenset[str]
    pieces: tuple[Piece, ...]

    def shape(self) -> str:
        """The prompt with every slot value replaced by the name of its slot."""
        return "".join(f"\ue000{p[0]}.{p[2]}\ue001" if p else text for text, p in self.pieces)

    def asked(self) -> str:
        """What the last field's items ask for in their closed slots: the verbs, not the values."""
        items = list(self.fields.values())[-1]
        return canonical_json([{k: v for k, v in i.items() if k in self.closed} for i in items])


@dataclass(frozen=True)
class Words:
    """The words that may change: synonyms, opposites, fillers, values that replace each other."""

    synonyms: Sequence[Sequence[str]] = ()
    contrasts: Sequence[Sequence[str]] = ()
    fillers: Sequence[str] = ()
    vocabulary: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Pool:
    """What cases have shown: items by kind for `swap`, frames around plain requests for `frame`."""

    items: Mapping[tuple, tuple[Item, ...]] = field(default_factory=dict)
    plain: tuple[Case, ...] = ()
    shapes: tuple[tuple[str, str], ...] = ()


def read_case(parent: str, prompt: str, answer: str, *, closed: Iterable[str]) -> Case | None:
    """The case, or None when its answer is no JSON object of lists of flat objects of text."""
    try:
        value = parse_json(answer)
    except ValueError:
        return None
    if (
        not isinstance(value, dict)
        or not value
        or not all(_is_items(held) for held in value.values())
    ):
        return None
    kept = frozenset(closed)
    return Case(parent, prompt, value, kept, _cut(prompt, value, kept))


def build_pool(seeds: Iterable[Case], cases: Iterable[Case], words: Words) -> Pool:
    """Donors out of all cases; plain requests (one item, nothing around it) out of seeds alone."""
    seeds = list(seeds)
    items: dict[tuple, dict[str, Item]] = defaultdict(dict)
    for case in [*seeds, *cases]:
        for name, index, item in _swappable(case):
            for donor in (item, *_by_vocabulary(case, name, index, item, words)):
                items[_kind(case, name, index, donor)][canonical_json(donor)] = donor
    plain = tuple(case for case in seeds if sum(map(len, case.fields.values())) == 1)
    shapes = tuple(sorted({(case.shape(), case.asked()) for case in plain}))
    return Pool({k: tuple(v[j] for j in sorted(v)) for k, v in items.items()}, plain, shapes)


def swap(case: Case, pool: Pool, words: Words, rng: random.Random) -> Proposal | None:
    """Other slot values of the same kind, and other numbers with the same unit."""
    changes: dict[Place, str] = {}
    for name, index, item in _swappable(case):
        donors = [d for d in pool.items.get(_kind(case, name, index, item), ()) if d != item]
        if donors and rng.random() < 0.8:
            donor = rng.choice(donors)
            changes |= {
                (name, index, key): text for key, text in donor.items() if text != item[key]
            }
    if rng.random() < 0.5 or not changes:
        changes |= _other_numbers(case, changes, rng)
    return _rewrite(case, changes) if changes else None


def renumber(case: Case, pool: Pool, words: Words, rng: random.Random) -> Proposal | None:
    """A contrast pair: the same sentence with another number."""
    changes = _other_numbers(case, {}, rng)
    return _rewrite(case, changes) if changes else None


def frame(case: Case, pool: Pool, words: Words, rng: random.Random) -> Proposal | None:
    """The words around the request of this case, put around the request of a seed.

    能不能帮我把空调打开 holds the seed's 把空调打开, so 能不能帮我… is a frame. What the frame
    itself asks for (a condition) stays in the answer.
    """
    last = list(case.fields)[-1]
    shape, asked = case.shape(), case.asked()
    inner = [held for held, verb in pool.shapes if verb == asked and held in shape]
    donors = [donor for donor in pool.plain if list(donor.fields) == [last]]
    if len(case.fields[last]) != 1 or not inner or not donors or shape in inner:
        return None
    request = max(inner, key=len)
    before, after = shape.split(request, 1)
    values = [text for text, place in case.pieces if place]
    first, gone = len(_MARK.findall(before)), len(_MARK.findall(request))
    donor = rng.choice(donors)
    prompt = _fill(before, values[:first]) + donor.prompt + _fill(after, values[first + gone :])
    return prompt, canonical_json({**case.fields, last: donor.fields[last]})


def synonym(case: Case, pool: Pool, words: Words, rng: random.Random) -> Proposal | None:
    """One word outside the slots replaced by a word of its line."""
    options = [
        (word, other)
        for line in words.synonyms
        for word in line
        if _count(case, word) == 1
        for other in line
        if other != word and other not in word and word not in other
    ]
    if not options:
        return None
    return _replace(case, *rng.choice(options)), canonical_json(case.fields)


def contrast(case: Case, pool: Pool, words: Words, rng: random.Random) -> Proposal | None:
    """The opposite request: its verb and the closed slot change together."""
    options = []
    for value, opposite in [*words.contrasts, *(pair[::-1] for pair in words.contrasts)]:
        places = [(n, i, k) for n, i, k in _all_places(case) if case.fields[n][i][k] == value]
        said = [word for word in _line(value, words) if _count(case, word) == 1]
        if len(places) == 1 and len(said) == 1:
            options.append((places[0], said[0], opposite))
    if not options:
        return None
    place, word, opposite = rng.choice(options)
    prompt = _replace(case, word, rng.choice(_line(opposite, words)))
    return prompt, canonical_json(_with(case.fields, {place: opposite}))


def noise(case: Case, pool: Pool, words: Words, rng: random.Random) -> Proposal | None:
    """A filler in front, as people speak."""
    if not words.fillers:
        return None
    return rng.choice(list(words.fillers)) + case.prompt, canonical_json(case.fields)


Change = Callable[[Case, Pool, Words, random.Random], Proposal | None]
FOR_SEEDS: tuple[Change, ...] = (swap, swap, synonym, contrast)
"""Tried in turn. A seed's sentence frames are as they are; errors teach new ones."""
FOR_CASES: tuple[Change, ...] = (
    frame,
    swap,
    frame,
    contrast,
    swap,
    renumber,
    frame,
    synonym,
    swap,
    noise,
)


def _is_items(held: Any) -> bool:
    return isinstance(held, list) and all(
        isinstance(item, dict) and all(isinstance(v, str) and v for v in item.values())
        for item in held
    )


def _cut(prompt: str, fields: Fields, closed: frozenset[str]) -> tuple[Piece, ...]:
    """Pieces of the prompt; the longest values take their place first, equal ones from the left."""
    taken: list[tuple[int, int, Place]] = []
    places = [
        (name, index, key, value)
        for name, items in fields.items()
        for index, item in enumerate(items)
        for key, value in item.items()
        if key not in closed
    ]
    for name, index, key, value in sorted(places, key=lambda p: -len(p[3])):
        start = prompt.find(value)
        while start >= 0 and any(s < start + len(value) and start < e for s, e, _ in taken):
            start = prompt.find(value, start + 1)
        if start >= 0:
            taken.append((start, start + len(value), (name, index, key)))
    pieces: list[Piece] = []
    at = 0
    for start, end, place in sorted(taken):
        pieces += [(prompt[at:start], None), (prompt[start:end], place)]
        at = end
    return tuple(piece for piece in [*pieces, (prompt[at:], None)] if piece[0])


def _all_places(case: Case) -> list[Place]:
    return [
        (n, i, k) for n, items in case.fields.items() for i, item in enumerate(items) for k in item
    ]


def _free(case: Case, name: str, index: int) -> list[str]:
    """Keys of an item whose values stand in the prompt as a piece."""
    found = {place for _, place in case.pieces}
    return [key for key in case.fields[name][index] if (name, index, key) in found]


def _swappable(case: Case) -> list[tuple[str, int, Item]]:
    """The items of which something stands in the prompt as a piece, as just these slots."""
    found = []
    for name, items in case.fields.items():
        for index, item in enumerate(items):
            keys = _free(case, name, index)
            if keys:
                found.append((name, index, {key: item[key] for key in keys}))
    return found


def _kind(case: Case, name: str, index: int, free: Item) -> tuple:
    """Items of one kind may replace each other: same verb, script, free slots and units."""
    fixed = tuple(sorted((k, v) for k, v in case.fields[name][index].items() if k not in free))
    units = tuple(_unit(value, first=not n) for n, value in enumerate(free.values()))
    return (name, fixed, bool(_HAN.search(case.prompt)), tuple(free), units)


def _unit(value: str, *, first: bool) -> str:
    """What follows the quantity; of other values the last character, of a leading one nothing."""
    if match := list(_QUANTITY.finditer(value)):
        return "#" + value[match[-1].end() :]
    return "" if first else value[-1]


def _by_vocabulary(case: Case, name: str, index: int, item: Item, words: Words) -> list[Item]:
    lines = ((key, line) for key, text in item.items() for line in words.vocabulary if text in line)
    return [{**item, key: other} for key, line in lines for other in line]


def _fill(shape: str, values: Sequence[str]) -> str:
    """The shape with its slots filled from the left."""
    waiting = iter(values)
    return _MARK.sub(lambda _: next(waiting), shape)


def _other_numbers(
    case: Case, changes: Mapping[Place, str], rng: random.Random
) -> dict[Place, str]:
    found = {}
    for text, place in case.pieces:
        if place and _NUMBER.search(changes.get(place, text)):
            found[place] = _NUMBER.sub(lambda m: _near(m, rng), changes.get(place, text), count=1)
    return {place: text for place, text in found.items() if rng.random() < 0.8}


def _near(match: re.Match[str], rng: random.Random) -> str:
    """Another number near by: tens stay tens, hours stay on the clock, percent below 100."""
    whole, _, rest = match.group().partition(".")
    number, unit = int(whole), match.string[match.end() :]
    step = next(s for s in (10, 5, 1) if number % s == 0)
    top = 11 if unit.startswith("点") else 100 if unit.startswith("%") else number + 8 * step
    reach = range(max(step, number - 8 * step), min(top, number + 8 * step) + 1, step)
    near = [other for other in reach if other != number]
    return (str(rng.choice(near)) if near else whole) + (f".{rest}" if rest else "")


def _rewrite(case: Case, changes: Mapping[Place, str]) -> Proposal:
    prompt = "".join(changes.get(place, text) if place else text for text, place in case.pieces)
    return prompt, canonical_json(_with(case.fields, changes))


def _with(fields: Fields, changes: Mapping[Place, str]) -> Fields:
    return {
        name: [
            {k: changes.get((name, i, k), v) for k, v in item.items()}
            for i, item in enumerate(items)
        ]
        for name, items in fields.items()
    }


def _count(case: Case, word: str) -> int:
    return sum(text.count(word) for text, place in case.pieces if not place)


def _replace(case: Case, word: str, other: str) -> str:
    return "".join(text if place else text.replace(word, other) for text, place in case.pieces)


def _line(word: str, words: Words) -> list[str]:
    return next((list(line) for line in words.synonyms if word in line), [word])
