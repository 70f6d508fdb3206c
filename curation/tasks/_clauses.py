"""Clauses: which part of an utterance may be about one item of an answer.

In 打开空调再关闭车窗 what is said of the window stands in its own clause, so an answer that has
打开 for it, or that gives it the number of the other clause, has no grounds, although each of its
words stands in the utterance. Where clauses cannot tell, nothing is said against an answer.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from curation.tasks._grounding import stands_in
from curation.text import is_negated, named_senses, text_key

Forms = Sequence[str]  # a value and the other words for it, as normal texts


class Slot(NamedTuple):
    """One slot of an item of an answer."""

    place: str  # such as actions[0].do=打开
    forms: Forms
    is_open: bool  # its value stands in the utterance
    opposites: Sequence[Forms]


_BREAK = re.compile("[,.:](?![0-9])|[;!?。…]|再|然后|接着|就|(?<![a-z])(?:and|then|but)(?![a-z])")
_TAKEN_BACK = re.compile("不对|不是|说错|错了|no wait|i mean|sorry")
# Words in which 不, 开 or on means neither a denial nor a side: 能不能, 离开, on the left.
_ASIDE = re.compile(
    r"(.)[不没]\1|[离分公]开|开[会车心始学]|[有相机海]关|关[于心系键注照]"
    "|[高低][速峰温架铁德兴音]|加[完满]?[油班热湿]|降[雨温雪水]"
    "|(?<!turn )(?<!switch )(?<!put )(?<!power )(?<![a-z])(?:on|off|up|down)"
    " (?=(?:an?|the|my|our|your|this|that)(?![a-z]))"
)
# What is told, complained of or asked (空调太低了, 窗开着, is it on) may ask for the opposite.
_TOLD = re.compile(
    "[太过嫌着很真]|(?<!你)好(?!的)|有点|有些|[高低大小多少冷热快慢]了|怎么|为什么"
    "|(?<![a-z])(?:too|is|are|was|still|why)(?![a-z])|'s(?![a-z])"
)
_NUMBER = re.compile("[0-9零二三四五六七八九十百两]")


def are_opposite(one: str, other: str) -> bool:
    """Whether two values name the two sides of one pair, and neither names both."""
    senses, against = named_senses(text_key(one)), named_senses(text_key(other))
    return any((pair, 1 - side) in against - senses for pair, side in senses - against)


def split_clauses(said: str) -> list[str]:
    """The clauses of a normal text, without what the speaker took back (不对, no wait)."""
    clauses = [clause.strip() for clause in _BREAK.split(said)]
    clauses = [clause for clause in clauses if clause]
    back = max((i for i, c in enumerate(clauses) if _TAKEN_BACK.match(c)), default=-1)
    return clauses[back + 1 :] or clauses


def find_mix_up(said: str, items: Sequence[Sequence[Slot]]) -> str:
    """`opposite:` or `ungrounded:` with the place, where an item says what its clauses do not."""
    clauses = split_clauses(said)
    spans = [[slot.forms for slot in item if slot.is_open] for item in items]
    for number, (item, own) in enumerate(zip(items, spans, strict=True)):
        others = [other for other in (*spans[:number], *spans[number + 1 :]) if other]
        paired = [slot for slot in item if slot.opposites]
        words = _words_around(clauses, own, [f for o in others for f in o]) if paired else ""
        for slot in paired:
            if _says_opposite(words, slot):
                return f"opposite:{slot.place}"
        for slot in item if others else ():
            if slot.is_open and _is_of_another(clauses, slot.forms, own[0], others):
                return f"ungrounded:{slot.place}"
    return ""


def _words_around(clauses: Sequence[str], own: Sequence[Forms], others: Sequence[Forms]) -> str:
    """What may be said of an item: its clauses and those of nobody, without any values.

    Its clauses are those that hold most of its values: two items may name the same thing.
    """
    held = [sum(_holds(clause, [forms]) for forms in own) for clause in clauses]
    most = max(held, default=0) or 1
    pairs = zip(clauses, held, strict=True)
    mine = [clause for clause, n in pairs if n == most or not _holds(clause, others)]
    return _without(" , ".join(mine), [*own, *others])


def _says_opposite(words: str, slot: Slot) -> bool:
    """Whether the words name an opposite of a value and not the value, beyond doubt."""
    if any(stands_in(words, form) for form in slot.forms):
        return False
    key = _ASIDE.sub("", text_key(words))
    if is_negated(key) or _TOLD.search(key):
        return False
    senses = named_senses(key)
    if any(senses & named_senses(form) for form in slot.forms):
        return False
    against = [form for forms in slot.opposites for form in forms]
    return any(stands_in(words, form) or senses & named_senses(form) for form in against)


def _is_of_another(
    clauses: Sequence[str], value: Forms, head: Forms, others: Sequence[Sequence[Forms]]
) -> bool:
    """Whether a value stands only by the heads of other items, and its own head by another value.

    The head of an item is its first open value: what the others are said of.
    """
    own = [clause for clause in clauses if _holds(clause, [head])]
    where = [clause for clause in clauses if _holds(clause, [value])]
    heads = [other[0] for other in others]
    if not where or any(c in own or not _holds(c, heads) for c in where):
        return False
    beside = _without(" , ".join(own), [head])
    return bool(_NUMBER.search(beside)) or _holds(beside, [f for o in others for f in o[1:]])


def _holds(clause: str, values: Sequence[Forms]) -> bool:
    return any(stands_in(clause, form) for forms in values for form in forms)


def _without(words: str, values: Sequence[Forms]) -> str:
    for form in sorted({form for forms in values for form in forms}, key=len, reverse=True):
        words = words.replace(form, " , ")
    return words
