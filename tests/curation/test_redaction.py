"""Redaction: what is found is replaced, what stands around it stays, and it is nobody's."""

import json
import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.personal import find_personal, kinds_of
from curation.pseudonyms import keyed_digest, pseudonym
from curation.redaction import hide_text, redact_cut, redact_text
from tests.curation.test_planted_pii import HAN_AFTER, HAN_BEFORE, PERSONAL, WORDS, wide

KEY = b"a key that only this test knows"
PIECES = st.sampled_from(
    [
        *(
            "13812345678",
            "１３８１２３４５６７８",
            "+86 138-1234-5678",
            "008613812345678",
            "010-62345678",
        ),
        *("(415) 555-2671", "+1 415-555-2671", "+44 20 7946 0958", "219-09-9999", "a@mail.co.uk"),
        *("11010519491231002X", "6222 0212 3456 7894", "4111111111111111", "zhang＠qq.com"),
        *("\\n", "\\u7535", "\u200b", "½", "①", "e\u0301", '"', "\\", "{", "}", "[", ",", ":"),
        *(" ", "-", "+", ".", "a", "打给", "，", "\n", "3412", "26", "1", "0", "(", ")", "@", "X"),
    ]
)
TEXTS = st.lists(PIECES, max_size=10).map("".join)
LEAVES = st.one_of(TEXTS, st.integers(-99, 99), st.just(13812345678), st.just(8613812345678.5))
KEYS = st.sampled_from(["做", "what", "\n号码", "13812345678"])  # two numbers may get one tag
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
).map(lambda value: {"a": value})


def pseudonymise(text, key=KEY):
    return hide_text(text, lambda span: pseudonym(key, span))


WAYS = {"redact": redact_text, "pseudonymise": pseudonymise}


def shape(value):
    """Keys and lengths, and the kind of each leaf; a tag in place of a number is text."""
    if isinstance(value, dict):
        return [shape(inner) for inner in value.values()]
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return "leaf"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("我的电话13812345678谢谢", "我的电话[电话号码]谢谢"),
        ("电话：１３８１２３４５６７８！", "电话：[电话号码]！"),
        ("Call (415) 555-2671, or joe@mail.co.uk", "Call [phone], or [email]"),
        ("身份证11010519491231002X，卡6222 0212 3456 7894", "身份证[证件号码]，卡[银行卡号]"),
        ("身份证110105194912310021", "身份证110105194912310021"),
        ("发给13812345678@163.com", "发给[邮箱]"),
        ("138\u200b1234\u200b5678", "[phone]"),
        (
            '{"to":"打给\\n13812345678","n":-13812345678}',
            '{"to":"打给\\n[电话号码]","n":"[电话号码]"}',
        ),
        ('{"to":"\\u7535\\u8bdd13812345678"}', '{"to":"\\u7535\\u8bdd[phone]"}'),
        ("½ 打给13812345678 ½", "½ 打给[电话号码] ½"),
    ],
)
def test_tags_take_the_place_of_what_is_found_and_of_nothing_else(text, redacted):
    hidden, places = redact_text(text)
    assert hidden == redacted
    assert all(re.fullmatch(r'"?\[.+\]"?', hidden[at.start : at.end]) for at in places)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PERSONAL)
def test_nothing_is_found_in_what_comes_out_and_the_rest_stays(way, name):
    kind, make = PERSONAL[name]
    draw = random.Random(name)
    for number in range(200):
        before, after = draw.choice(HAN_BEFORE + WORDS), draw.choice((*HAN_AFTER, " please"))
        said = make(draw)
        text = before + (wide(said) if number % 3 == 0 else said) + after
        hidden, places = WAYS[way](text)
        assert [at.kind for at in places] == [kind], text
        assert hidden.startswith(before) and hidden.endswith(after) and not find_personal(hidden)
        assert said not in hidden


@given(TEXTS)
@example("3412 13812345678")
@example("5123 4567 13812345678")
def test_whatever_stands_beside_what_nothing_is_found_in_the_outcome(text):
    spans = find_personal(text)
    for hide in WAYS.values():
        hidden, places = hide(text)
        assert not find_personal(hidden)
        if [s.written for s in spans] == [p.written for p in places]:  # none were joined
            assert outside(hidden, places) == outside(text, spans)
        assert hide(hidden) == (hidden, [])


def outside(text, spans):
    ends = [0, *(span.end for span in spans)]
    starts = [*(span.start for span in spans), len(text)]
    return [text[a:b] for a, b in zip(ends, starts, strict=True)]


@given(JSON, st.booleans())
def test_a_json_text_keeps_its_shape(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    for hide in WAYS.values():
        hidden = hide(text)[0]
        assert shape(json.loads(hidden)) == shape(value) and not find_personal(hidden)


def test_a_pseudonym_belongs_to_a_value_however_it_is_written_and_to_a_key():
    forms = ("13812345678", "138-1234-5678", "+86 138 1234 5678", "１３８１２３４５６７８")
    said = {re.sub("[^0-9]", "", pseudonymise(form)[0])[-11:] for form in forms}
    assert len(said) == 1 and said.pop().startswith("129")
    digests = {keyed_digest(KEY, find_personal(form)[0]) for form in forms}
    assert len(digests) == 1 and re.fullmatch("[0-9a-f]{32}", digests.pop())
    assert pseudonymise("Joe@QQ.com")[0] == pseudonymise("joe@qq.com")[0]
    others = [pseudonymise("13812345678", key)[0] for key in (KEY, b"another key of this test")]
    assert len({*others, pseudonymise("13812345679")[0]}) == 3


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("138 1234-5678", "129 [0-9]{4}-[0-9]{4}"),
        ("+86 13812345678", r"\+00 129[0-9]{8}"),
        ("010-62345678", "0[0-9]{2}-0[0-9]{7}"),
        ("(415) 555-2671", r"\(0[0-9]{2}\) 0[0-9]{2}-0[0-9]{3}"),
        ("+44 20 7946 0958", r"\+0[0-9] 0[0-9] 0[0-9]{3} 0[0-9]{3}"),
        ("219-09-9999", "000-[0-9]{2}-[0-9]{4}"),
        ("11010519491231002X", "[1-9][0-9]{5}(19|20)[0-9]{10}"),
        ("6222 0212 3456 7894", "6[0-9]{3} [0-9]{4} [0-9]{4} [0-9]{4}"),
        ("joe@mail.co.uk", "user[0-9a-f]{10}@example.com"),
    ],
)
def test_a_pseudonym_has_the_form_of_what_it_stands_for_and_is_nobodys(written, form):
    said = pseudonymise(written)[0]
    assert re.fullmatch(form, said) and said != written


def test_half_a_number_at_the_end_of_a_text_that_was_cut_goes():
    assert redact_cut("坏的一行：1381234", 20) == "坏的一行："
    assert redact_cut("坏的一行：13812345678，1381234", 500) == "坏的一行：[电话号码]，1381234"


def test_of_what_overlaps_the_longest_is_one_find():
    found = find_personal("13812345678@163.com 11010519491231002X 13812345678")
    assert kinds_of(found) == ["phone", "id_number", "email"] and len(found) == 3


def test_backslashes_without_end_cost_no_more_than_other_characters():
    assert find_personal("\\" * 1_000_000 + "13812345678")[0].start == 1_000_000
