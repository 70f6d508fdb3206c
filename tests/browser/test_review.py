"""People review rows in a real browser: by keys, in two languages, two at a time.

It leaves pictures in screenshots/, which is how people who read a change can see the page.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from playwright.sync_api import Page, expect, sync_playwright

from curation.reviews import INBOX, decide_rows, read_said
from curation.store import Store
from pipelines.review.app import review_app
from pipelines.review.calls import Desk
from tests.browser.test_ui import CHROMIUM, CHROMIUM_FLAGS, SCREENSHOTS
from tests.curation.lineage_world import answer
from tests.curation.review_world import EITHER, SEEDS, build_store, id_of, open_desk

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("built"))


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(built, tmp_path / "store"))


def test_rows_are_judged_by_keys_and_every_verdict_is_in_the_inbox(store):
    with serve(store, "审阅甲") as url, browser() as open_page:
        page = open_page(f"{url}/?lang=en")
        first = shown(page)
        assert first == min(id_of(*pair) for pair in EITHER)
        expect(page.get_by_text("the same question has other answers")).to_be_visible()
        both = page.locator(".turn.user mark").all_text_contents()
        assert both == page.locator(".turn.answer mark").all_text_contents()
        assert both in (["打开", "窗"], ["打开", "灯"])
        picture(page, "review")
        second = press(page, "a")
        page.keyboard.press("r")
        expect(page.get_by_role("dialog")).to_be_visible()
        picture(page, "review_reasons")
        third = press(page, "2")
        assert said(store) == {first: ("accept", ""), second: ("reject", "off_topic")}
        assert press(page, "u") == second
        assert said(store) == {first: ("accept", "")}
        page.keyboard.press("r")
        page.get_by_placeholder("another reason, in words").fill("太啰嗦 <b>")
        assert press(page, "Enter") == third
        assert said(store)[second] == ("reject", "太啰嗦 <b>")
        fourth = press(page, " ")
        assert fourth not in (first, second, third)
        page.keyboard.press("?")
        expect(page.get_by_text("take the last verdict back")).to_be_visible()
        page.keyboard.press("Escape")
        page.reload()
        assert shown(page) == fourth


def test_an_edit_is_refused_until_the_task_accepts_it(store):
    with serve(store, "reviewer-2") as url, browser() as open_page:
        page = open_page(f"{url}/?lang=zh")
        find(page, id_of(*SEEDS[0]))
        expect(page.get_by_text("接近阈值")).to_be_visible()
        page.keyboard.press("e")
        field = page.get_by_role("textbox", name="答案")
        save = page.get_by_role("button", name="保存")
        for wrong, reason in (("{", "not_json"), (answer("打开", "车窗"), "ungrounded")):
            field.fill(wrong)
            expect(page.get_by_text(f"任务不接受： {reason}")).to_be_visible()
            expect(save).to_be_disabled()
            page.keyboard.press("Control+Enter")
        assert said(store) == {}
        picture(page, "review_edit")
        field.fill('{"actions": [{"do": "打开", "what": "调"}]}')
        expect(page.get_by_text("任务接受。")).to_be_visible()
        press(page, "Control+Enter")
        right = id_of(SEEDS[0][0], answer("打开", "调"))
        assert said(store) == {id_of(*SEEDS[0]): ("reject", ""), right: ("accept", "")}


def test_two_reviewers_never_have_the_same_row_before_them(store):
    with serve(store, "") as url, browser() as open_page:
        pages = []
        for name in ("审阅甲", "reviewer-2"):
            page = open_page(f"{url}/?lang=zh", wait=False)
            page.get_by_role("textbox", name="你是谁？").fill(name)
            page.keyboard.press("Enter")
            pages.append(page)
        first, second = map(shown, pages)
        assert first != second
        picture(pages[1], "review_phone", width=390)
        assert press(pages[1], "a") not in (first, second)
        pages[0].keyboard.press("l")
        expect(pages[0].get_by_role("button", name="skip")).to_be_visible()
        pages[0].reload()
        expect(pages[0].get_by_role("button", name="skip")).to_be_visible()
        pages[0].get_by_role("button", name="report").click()
        expect(pages[0].get_by_text("source general")).to_be_visible()
        picture(pages[0], "review_report", dark=True)


def test_what_stands_in_a_row_is_text_and_without_the_token_there_is_none(store):
    with serve(store, "reviewer-2", shown=False) as url, browser() as open_page:
        page = open_page(f"{url}/?lang=en", wait=False, quiet=False)
        page.get_by_role("textbox", name="Token").fill("wrong, but long enough")
        page.keyboard.press("Enter")
        expect(page.get_by_role("textbox", name="Token")).to_be_empty()
        page.get_by_role("textbox", name="Token").fill(SECRET)
        page.keyboard.press("Enter")
        assert shown(page)


SECRET = "a token of some length"


@contextmanager
def serve(store: Store, reviewer: str, *, shown: bool = True) -> Iterator[str]:
    """The server of the page of rows; its URL."""
    with serve_desk(open_desk(store), reviewer, shown=shown) as url:
        yield url


@contextmanager
def serve_desk(desk: Desk, reviewer: str, *, shown: bool = True) -> Iterator[str]:
    """A page's server on a free port; its URL."""
    app = review_app(desk, token=SECRET, hosts=["127.0.0.1"], shown=shown, reviewer=reviewer)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        desk.close()


@contextmanager
def browser() -> Iterator[Callable[..., Page]]:
    """Opens pages of reviewers of their own; what a `quiet` one says on its console fails."""
    told: list[str] = []

    def open_page(url: str, *, wait: bool = True, quiet: bool = True) -> Page:
        page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: told.append(str(error)))
        if quiet:
            page.on("console", lambda message: told.append(message.text))
        page.goto(url)
        if wait:
            shown(page)
        return page

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        try:
            yield open_page
        finally:
            chromium.close()
    assert not told


def shown(page: Page) -> str:
    """The id of the row on the page, once there is one."""
    page.locator("#item:not([data-id=''])[data-id]").wait_for()
    return page.locator("#item").get_attribute("data-id") or ""


def press(page: Page, key: str) -> str:
    """Press a key that brings another row; its id."""
    before = shown(page)
    page.keyboard.press(key)
    page.locator(f"#item:not([data-id='{before}'])").wait_for()
    return shown(page)


def find(page: Page, row: str) -> None:
    for _ in range(60):
        if shown(page) == row:
            return
        press(page, " ")
    raise AssertionError(f"{row} is not in the queue")


def said(store: Store) -> dict[str, tuple[str, str]]:
    rows = decide_rows(read_said(INBOX.read(store)))
    return {row["id"]: (row["verdict"], row["reason"]) for row in rows.to_dicts()}


def picture(page: Page, name: str, *, width: int = 1280, dark: bool = False) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if dark else "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
