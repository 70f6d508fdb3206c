"""A person opens the asset graph, presses "Materialize all" and sees the run turn green.

The test drives what `make ui` starts, on a copy of the project so that its own history is empty. It
leaves pictures in screenshots/, which is how people who read a change can see the UI.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "tests" / "tiny" / "tiny.yaml"
GROUP = "5_train"
ASSETS = ("training_set", "model_version")
SCREENSHOTS = ROOT / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
COPIED = (
    "assets",
    "curation",
    "evaluation",
    "pipelines",
    "training",
    "pyproject.toml",
    "dagster.yaml",
)
# Everything but the pages asked for stays off: no updates, no sync, no look-ups of other hosts.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_TIMEOUT_S = 90
RUN_TIMEOUT_S = 300

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]


def test_materialize_all_turns_the_run_green(tmp_path: Path):
    with _dagster_ui(tmp_path) as url, _page() as page:
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        _open_asset_graph(page, url)
        page.get_by_role("button", name="Materialize all").click()
        page.get_by_role("link", name="View", exact=True).click()
        _wait_until_finished(page)
        expect(page.get_by_text("Success", exact=True).first).to_be_visible()

        _open_asset_graph(page, url)
        page.keyboard.press("Alt+e")  # unfolds every group
        for asset in ASSETS:
            expect(page.get_by_text(asset, exact=True).filter(visible=True).first).to_be_visible()
        _picture(page, "asset_graph")

        page.goto(f"{url}/assets/tiny/kept_rows")
        page.get_by_text("fates", exact=True).filter(visible=True).first.wait_for()
        _picture(page, "asset")
        for shown in ("preview", "data version", "Row count", "kept"):
            expect(page.get_by_text(shown).filter(visible=True).first).to_be_visible()

        page.goto(f"{url}/assets/tiny/adapter")
        row = page.get_by_role("row").filter(has=page.get_by_text("curves", exact=True)).first
        row.get_by_text("Show Markdown").click()
        curves = page.locator("img[alt^='The smoothed loss went from']")
        curves.wait_for()
        assert curves.evaluate("image => image.naturalWidth") > 0  # the browser could draw it
        _picture(page, "curves")
        assert hosts == {url.removeprefix("http://")}


def _open_asset_graph(page: Page, url: str) -> None:
    page.goto(f"{url}/asset-groups")
    # The sidebar lists the group first; the second one is the box in the graph.
    page.get_by_text(GROUP, exact=True).filter(visible=True).nth(1).wait_for()


def _wait_until_finished(page: Page) -> None:
    finished = page.get_by_text("Success", exact=True).or_(page.get_by_text("Failure", exact=True))
    try:
        finished.first.wait_for(timeout=RUN_TIMEOUT_S * 1000)
    finally:
        _picture(page, "run")


def _picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


@contextmanager
def _page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        try:
            yield browser.new_page(viewport={"width": 1600, "height": 900})
        finally:
            browser.close()


@contextmanager
def _dagster_ui(folder: Path) -> Iterator[str]:
    """`dg dev` on a copy of the project in `folder`; its URL once it answers."""
    project = _copy_project(folder / "project")
    port = _free_port()
    command = [
        Path(sys.executable).parent / "dg",
        "dev",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = os.environ | {
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_HOME": str(project),
        "PYTHONPATH": str(project),
        "WINNOW_RECIPE": str(RECIPE),
        "WINNOW_STORE": str(folder / "store"),
    }
    log = folder / "dg.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        _wait_for_server(f"http://127.0.0.1:{port}/server_info", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _kill_tree(process)


def _copy_project(target: Path) -> Path:
    target.mkdir()
    for name in COPIED:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target / name)
    return target


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_server(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"dg dev did not start:\n{log.read_text()}")


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait()
