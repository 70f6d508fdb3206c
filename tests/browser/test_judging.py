"""People judge answers of models in a real browser: two side by side by keys, and one by marks."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from curation.judgements import INBOX, read_choices, read_marks
from curation.rows import digest
from curation.store import Store
from tests.browser.test_review import browser, picture, press, serve_desk, shown
from tests.browser.test_ui import CHROMIUM
from tests.pipelines.people_world import build_store, open_blind, open_rating

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(build_store(tmp_path / "store"))


def test_five_pairs_are_judged_by_keys_in_chinese(store):
    with serve_desk(open_blind(store), "甲") as url, browser() as open_page:
        page = open_page(f"{url}/?lang=zh")
        expect(page.get_by_text("哪个答案更好？")).to_be_visible()
        wanted = {}
        for turn, key in enumerate(["", "", "g", "b", ""]):
            question, answers = shown(page), sides(page)
            assert sum("actions" in answer for answer in answers) == 1
            right = int("actions" in answers[1])
            if turn == 0:
                picture(page, "judge_pair")
            press(page, key or ("ArrowLeft", "ArrowRight")[right])
            wanted[question] = digest(compact(answers[right])) if not key else ""
        expect(page.get_by_text("5 已审 · 1 剩余")).to_be_visible()
        assert choices(store) == wanted
        last = press(page, "u")
        assert last == list(wanted)[-1] and last not in choices(store)
        press(page, "ArrowLeft")
        page.keyboard.press("?")
        expect(page.get_by_text("撤销上一条")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("g")
        expect(page.get_by_text("没有等待你审阅的数据。")).to_be_visible()
        assert len(choices(store)) == 6


def test_on_a_phone_the_two_answers_stand_below_each_other(store):
    desk = open_blind(store, show_gold=True)
    with serve_desk(desk, "reviewer-2") as url, browser() as open_page:
        page = open_page(f"{url}/?lang=en")
        picture(page, "judge_pair_phone", width=390)
        a, b = (page.locator(".sides > .answer").nth(n).bounding_box() for n in (0, 1))
        assert a and b and a["x"] == b["x"] and b["y"] > a["y"]
        expect(page.get_by_text("expected answer")).to_be_visible()
        before = shown(page)
        page.get_by_role("button", name="B is better").click()
        page.locator(f"#item:not([data-id='{before}'])").wait_for()
        assert [*choices(store)] == [before]
        page.get_by_role("button", name="report").click()
        expect(page.get_by_text("Krippendorff's alpha")).to_be_visible()


def test_an_answer_is_rated_by_digits_and_a_comment(store):
    with serve_desk(open_rating(store, n=2), "甲") as url, browser() as open_page:
        page = open_page(f"{url}/?lang=zh")
        first = shown(page)
        for digit in "5432":
            page.keyboard.press(digit)
        page.keyboard.press("Enter")
        expect(page.get_by_text("还有未打分的项。")).to_be_visible()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("1")
        expect(page.locator("#notice")).to_be_hidden()
        page.get_by_role("button", name="安全性 4").click()
        page.keyboard.press("c")
        page.keyboard.type("l1 太短")
        picture(page, "judge_rating")
        picture(page, "judge_rating_phone", width=390, dark=True)
        page.keyboard.press("Escape")
        second = press(page, "Enter")
        said = read_marks(INBOX.read(store))
        assert said["question"].unique().to_list() == [first] and second != first
        assert {*said["comment"]} == {"l1 太短"}
        assert dict(said.select("dimension", "mark").iter_rows()) == {
            "correctness": 5, "completeness": 4, "format": 3, "fluency": 1, "safety": 4
        }  # fmt: skip
        expect(page.locator("[aria-pressed=true]")).to_have_count(0)


def sides(page: Page) -> list[str]:
    return page.locator(".sides > .answer pre").all_text_contents()


def compact(shown: str) -> str:
    """An answer as the model gave it; the page shows JSON on several lines."""
    return "".join(line.strip().replace('": ', '":') for line in shown.splitlines())


def choices(store: Store) -> dict[str, str]:
    """Question -> the better answer's name, "" where neither is better."""
    said = read_choices(INBOX.read(store))
    return dict(said.select("question", "better").iter_rows())
