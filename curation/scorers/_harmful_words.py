"""Word rules for harmful text: lists of words that stand close behind one another in a sentence.

A word alone proves little (how to kill a process, 爆炸式增长), so most rules want several: one that
asks, one that does, one that harms. A file of them is YAML with

    lists:     {how: [how to, 如何], make: [make, 制作], arms: [bomb, 炸弹]}
    rules:     {weapons: [how make arms]}     category: rules, each the names of its lists in order
    apart:     [about, 关于]                  never between two words of a rule      (optional)
    harmless:  [bath bomb, 炸弹人]            read over as if they were not there    (optional)
    excuses:   [in minecraft, 游戏里]         a sentence with one is passed over     (optional)

Texts and words are compared in one width, case and script, and a Latin word also finds its plural.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from curation.plugins import nearest
from curation.text import _simplified

SHIPPED = Path(__file__).parents[1] / "words" / "harmful.v1.yaml"
"""Other words get another number: scores are remembered by the code, which names the file."""
_SPARE = ("apart", "harmless", "excuses")
_KEYS = ("lists", "rules", *_SPARE)
_BETWEEN = 5
"""Most English words or other characters between two words of a rule."""
_UNIT = r"(?:[a-z0-9][a-z0-9'-]*|[^\sa-z0-9.,:;!?。，：；！？])"
_PASSED, _STOP = "\u25a1", "."
"""What stands where a harmless word stood, and one that parts others: a stop, as of a sentence."""


@dataclass(frozen=True)
class WordRule:
    """Words of these lists in this order; `pattern` (of Polars) finds them in a folded text."""

    category: str
    lists: tuple[str, ...]
    pattern: str


@dataclass(frozen=True)
class HarmfulWords:
    """A checked file of words."""

    lists: Mapping[str, list[str]]
    rules: tuple[WordRule, ...]
    apart: list[str]
    harmless: list[str]
    excuses: list[str]

    def find(self, texts: pl.Series) -> list[list[str]]:
        """The categories of harm in each text, sorted.

        All words are looked up in one pass over all texts; only a text that holds a word of each
        list of a rule is looked at closely, a hundredth of them.
        """
        plain = _plain(texts)
        held = self._hold(plain)
        found: list[set[str]] = [set() for _ in range(len(texts))]
        for rule in self.rules:
            if places := sorted(set.intersection(*(held[name] for name in rule.lists))):
                near = self._part(self._pass_over(plain.gather(places)))
                for place in near.str.contains(rule.pattern).arg_true():
                    found[places[place]].add(rule.category)
        return [sorted(categories) for categories in found]

    def unreachable(self) -> list[str]:
        """Words that are never found, since a harmless word or one that parts is in them."""
        words = pl.Series([word for listed in self.lists.values() for word in listed])
        return words.filter(self._part(self._pass_over(words)) != words).to_list()

    def _pass_over(self, plain: pl.Series) -> pl.Series:
        """The texts without harmless words."""
        return plain.str.replace_many(dict.fromkeys(self.harmless, _PASSED))

    def _part(self, plain: pl.Series) -> pl.Series:
        """The texts with a stop for each word that parts others and each excused sentence."""
        sentence = r"[^.!?。！？\n]*"
        if self.excuses:
            excused = sentence + _any_of(self.excuses) + sentence
            plain = plain.str.replace_all(excused, _STOP)
        return plain.str.replace_all(_any_of(self.apart), _STOP) if self.apart else plain

    def _hold(self, plain: pl.Series) -> dict[str, set[int]]:
        """The places of the texts that hold a word of each list."""
        pairs = [(name, word) for name, words in self.lists.items() for word in words]
        lists = pl.DataFrame(pairs, schema=["list", "word"], orient="row")
        seen = plain.str.extract_many(lists["word"].unique().to_list(), overlapping=True)
        found = pl.DataFrame({"word": seen}).with_row_index("place").explode("word")
        held = found.join(lists, on="word").group_by("list").agg("place")
        return {name: set() for name in self.lists} | {
            name: set(places) for name, places in held.iter_rows()
        }


def _plain(texts: pl.Series) -> pl.Series:
    """One width, case and script, and straight apostrophes."""
    plain = texts.fill_null("").str.normalize("NFKC").str.to_lowercase()
    straight = {chr(old): new for old, new in _simplified().items()} | {"\u2019": "'"}
    return plain.str.replace_many(straight)


def load_words(path: Path) -> HarmfulWords:
    """The checked words of a file; `ValueError` with one line for the first mistake."""
    said = _read(path)
    listed = _mapping(path, "lists", said)
    words = {f"lists.{name}": some for name, some in listed.items()}
    words |= {key: said[key] for key in _SPARE if said.get(key)}
    plain = _plain_all({k: _check_texts(f"{path.name}: {k}", some) for k, some in words.items()})
    lists = {name: plain[f"lists.{name}"] for name in listed}
    rules = [
        _read_rule(f"{path.name}: rules.{category}", category, rule, lists)
        for category, named in _mapping(path, "rules", said).items()
        for rule in _check_texts(f"{path.name}: rules.{category}", named)
    ]
    known = HarmfulWords(lists, tuple(rules), *(plain.get(key, []) for key in _SPARE))
    for word in known.unreachable():
        raise ValueError(
            f"{path.name}: {word!r} is never found: a word of {', '.join(_SPARE)} is in it"
        )
    return known


def _read(path: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise ValueError(f"{path.name} holds no mapping with {', '.join(_KEYS)}")
    for key in said:
        if key not in _KEYS:
            raise ValueError(f"{path.name}: unknown key {key!r}{nearest(key, _KEYS)}")
    return said


def _mapping(path: Path, key: str, said: Mapping[str, Any]) -> dict[str, Any]:
    value = said.get(key)
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{path.name} needs `{key}`: a mapping of names to lists, got {value!r}")
    return value


def _plain_all(words: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The words as texts are read, all in one pass."""
    plain = iter(_plain(pl.Series([word for some in words.values() for word in some])))
    return {name: [next(plain) for _ in some] for name, some in words.items()}


def _check_texts(where: str, texts: Any) -> list[str]:
    if not isinstance(texts, list) or not texts:
        raise ValueError(f"{where} needs a list of texts, got {texts!r}")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: {text!r} is not text; put it in quotes")
    return texts


def _read_rule(where: str, category: str, rule: str, lists: Mapping[str, list[str]]) -> WordRule:
    names = tuple(rule.split())
    for name in names:
        if name not in lists:
            raise ValueError(f"{where}: no list is called {name!r}{nearest(name, lists)}")
    between = rf"(?:[ \t]*{_UNIT}){{0,{_BETWEEN}}}[ \t]*"
    return WordRule(category, names, between.join(_any_of(lists[name]) for name in names))


def _any_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(_pattern, words))})"


def _pattern(word: str) -> str:
    """The word; a Latin one stands alone, beside Han characters too, but for an English plural."""
    start = r"(?-u:\b)" if re.match("[a-z0-9]", word) else ""
    end = r"(?:e?s)?(?-u:\b)" if re.search("[a-z0-9]$", word) else ""
    return start + pl.escape_regex(word) + end
