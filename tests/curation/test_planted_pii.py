"""Planted personal data: of every kind at least 99 in 100 are found, beside Han text and Latin.

Numbers that look alike and are none (orders, prices, dates, wrong check digits) are marked in at
most 1 of 100 cases.
"""

import random
import string
from collections.abc import Callable

import pytest

from curation.personal import find_personal, kinds_of

N = 400
HAN_BEFORE = ("我的号码是", "请联系", "车主", "把导航发给", "打给", "身份证", "卡号：", "邮箱", "")
HAN_AFTER = ("谢谢", "，尽快", "。", "的信息", "帮我存一下", "")
WORDS = ("call ", "my number is ", "contact: ", "")


def digits(draw: random.Random, n: int) -> str:
    return "".join(draw.choices(string.digits, k=n))


def mobile(draw: random.Random) -> str:
    body = "1" + draw.choice("3456789") + digits(draw, 9)
    split = draw.choice(("", " ", "-"))
    prefix = draw.choice(("", "+86 ", "86-", "0086"))
    return prefix + split.join((body[:3], body[3:7], body[7:]))


def land_line(draw: random.Random) -> str:
    return f"0{draw.choice(('10', '21', '755', '571'))}-{draw.randint(2, 9)}{digits(draw, 7)}"


def us_phone(draw: random.Random) -> str:
    area, office = (f"{draw.randint(2, 9)}{digits(draw, 2)}" for _ in range(2))
    return draw.choice(
        (f"({area}) {office}-{digits(draw, 4)}", f"{area}-{office}-{digits(draw, 4)}")
    )


def cn_id(draw: random.Random, *, wrong: bool = False) -> str:
    day = f"{draw.randint(1950, 2015)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
    body = f"{draw.randint(11, 65)}{digits(draw, 4)}{day}{digits(draw, 3)}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
    others = [c for c in "0123456789X" if c != check]
    return body + (draw.choice(others) if wrong else check)


def ssn(draw: random.Random) -> str:
    return f"{draw.randint(100, 665)}-{draw.randint(10, 99)}-{draw.randint(1000, 9999)}"


def card(draw: random.Random, *, wrong: bool = False) -> str:
    body = draw.choice(("62", "4", "51", "35")) + digits(draw, 17)
    body = body[: draw.choice((15, 18)) if body.startswith("62") else 15]
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(body))]
    check = -sum(n // 10 + n % 10 for n in doubled) % 10
    number = body + str((check + draw.randint(1, 9)) % 10 if wrong else check)
    parts = [number[i : i + 4] for i in range(0, len(number), 4)]
    return draw.choice(("", " ")).join(parts)


def email(draw: random.Random) -> str:
    name = "".join(draw.choices(string.ascii_lowercase + string.digits, k=draw.randint(3, 10)))
    middle = draw.choice(("", "." + draw.choice(string.ascii_lowercase), "_x", "+car"))
    return f"{name}{middle}@{draw.choice(('qq.com', '163.com', 'gmail.com', 'mail.corp.com.cn'))}"


PERSONAL: dict[str, tuple[str, Callable[[random.Random], str]]] = {
    "mobile": ("phone", mobile),
    "land line": ("phone", land_line),
    "phone in the USA": ("phone", us_phone),
    "identity number": ("id_number", cn_id),
    "social security number": ("id_number", ssn),
    "bank card": ("bank_card", card),
    "e-mail": ("email", email),
}


def wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


@pytest.mark.parametrize("written", ["beside Han", "beside Latin", "full width"])
@pytest.mark.parametrize("name", PERSONAL)
def test_of_every_kind_ninety_nine_in_a_hundred_are_found(name: str, written: str):
    kind, make = PERSONAL[name]
    draw, found = random.Random(f"{name}{written}"), 0
    for _ in range(N):
        text = make(draw)
        if written == "beside Latin":
            said = draw.choice(WORDS) + text + draw.choice((" please", ".", ""))
        else:
            text = wide(text) if written == "full width" else text
            said = draw.choice(HAN_BEFORE) + text + draw.choice(HAN_AFTER)
        found += kind in kinds_of(find_personal(said))
    assert found >= 0.99 * N


LOOK_ALIKES: dict[str, Callable[[random.Random], str]] = {
    "identity number with a wrong check digit": lambda r: cn_id(r, wrong=True),
    "card number with a wrong check digit": lambda r: card(r, wrong=True),
    "order": lambda r: f"订单号{r.choice(('DD', 'SO-', ''))}2026{digits(r, 8)}",
    "parcel": lambda r: f"快递SF{digits(r, 13)}",
    "price": lambda r: f"{r.randint(1, 999)},{digits(r, 3)}.{digits(r, 2)}元",
    "date and time": lambda r: (
        f"2026-{r.randint(1, 12):02}-{r.randint(1, 28):02} 1{r.randint(0, 9)}:30:05"
    ),
    "version": lambda r: f"版本{r.randint(1, 20)}.{r.randint(0, 99)}.{r.randint(0, 9999)}",
    "place": lambda r: (
        f"导航到北纬{r.randint(10, 50)}.{digits(r, 6)}，东经1{r.randint(10, 30)}.{digits(r, 6)}"
    ),
    "command": lambda r: f"把温度调到{r.randint(16, 32)}度，音量{r.randint(1, 100)}",
    "eleven digits that are no mobile": lambda r: f"编号{r.choice('2456789')}{digits(r, 10)}",
    "plate": lambda r: f"沪A{digits(r, 5)}在B{r.randint(1, 3)}层{digits(r, 3)}号车位",
    "score": lambda r: f"比分{r.randint(0, 130)}-{r.randint(0, 130)}",
    "range of years": lambda r: f"{r.randint(1900, 1990)}-{r.randint(1991, 2026)}年",
    "hash": lambda r: "".join(r.choices("0123456789abcdef", k=40)),
    "at a place": lambda r: f"明天@{r.choice(('张三', '老王', 'team'))} 开会",
    "public service": lambda r: r.choice(("110", "120", "12306", "95588", "10086", "400")),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_looks_alike_is_marked_in_at_most_one_of_a_hundred(name: str):
    draw = random.Random(name)
    texts = [
        draw.choice(("请问", "帮我查", ""))
        + LOOK_ALIKES[name](draw)
        + draw.choice(("吗", "。", ""))
        for _ in range(N)
    ]
    marked = [text for text in texts if find_personal(text)]
    assert len(marked) <= 0.01 * N, marked[:5]
