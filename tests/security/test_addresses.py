"""No source fetches an address: not one in a recipe, and not one that a data set's card names."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from assets.recipe import RecipeError, load_recipe
from curation.plugins import check_options, find_plugin, plugin_names
from curation.sources._hub_card import check_card
from curation.sources.hub import hub

COMMIT = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"
ADDRESSES = [
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1/rows.jsonl",
    "http://2130706433/rows.jsonl",
    "http://0177.0.0.1/rows.jsonl",
    "http://0x7f000001/rows.jsonl",
    "http://[::ffff:127.0.0.1]/rows.jsonl",
    "http://[::1]/rows.jsonl",
    "http://localhost/rows.jsonl",
    "http://127.0.0.1.nip.io/rows.jsonl",
    "https://example.com/rows.jsonl",
    "file:///etc/passwd",
    "ftp://example.com/rows.jsonl",
    "s3://bucket/rows.jsonl",
    "hf://datasets/a/b/rows.jsonl",
    "zip://rows.jsonl::http://127.0.0.1/rows.zip",
]
FILE_SOURCES = [name for name in plugin_names("curation.sources") if name != "hub"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("source", FILE_SOURCES)
def test_a_source_given_an_address_is_one_line_of_the_recipe(tmp_path, source, address):
    said = {"path": address} | ({"rows": 1} if source == "grammar" else {})
    factory = find_plugin("curation.sources", source)
    errors = check_options(factory, said, where="sources.s", base=tmp_path)[1]
    line = f"{address!r} is an address; files are read here: fetch it and name the file"
    assert errors == [f"sources.s.path: {line}"]


def test_the_line_reaches_the_user_of_a_recipe(tmp_path):
    source = {"use": "jsonl", "path": ADDRESSES[0]}
    said = {"name": "r", "sources": {"s": source}, "train": {"base_model": "demo"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(said))
    with pytest.raises(RecipeError) as stop:
        load_recipe(tmp_path / "r.yaml", environment={})
    assert len(stop.value.lines) == 1 and "is an address" in stop.value.lines[0]


@pytest.mark.parametrize(
    "repo",
    [
        *ADDRESSES,
        "/etc",
        "../x",
        "a/../b",
        "a/..",
        "json",
        "parquet",
        "a/b/c",
        "a b/c",
        "",
        "a/b\n",
    ],
)
def test_a_hub_id_is_owner_and_name(repo):
    with pytest.raises(ValueError, match="is no data set of the hub; write owner/name"):
        hub(repo=repo, revision=COMMIT)


FOREIGN = ["/etc/passwd", "../../secret.jsonl", "data/../../../x", "~/x", *ADDRESSES]


@pytest.mark.parametrize("path", FOREIGN)
def test_a_card_that_names_foreign_files_is_refused(path):
    shapes = [
        path,
        [path],
        [{"split": "train", "path": path}],
        [{"split": "t", "path": ["a", path]}],
    ]
    for files in shapes:
        front = yaml.safe_dump({"configs": [{"config_name": "default", "data_files": files}]})
        with pytest.raises(ValueError, match="which is no file of the data set") as stop:
            check_card(f"---\n{front}---\n# Card", where="README.md")
        assert "\n" not in str(stop.value)
        with pytest.raises(ValueError, match="which is no file of the data set"):
            check_card(front, where=".huggingface.yaml")
    front = yaml.safe_dump({"configs": [{"config_name": "default", "data_dir": path}]})
    with pytest.raises(ValueError, match="which is no file of the data set"):
        check_card(f"---\r\n{front}---\r\n", where="README.md")


@pytest.mark.parametrize(
    "card",
    [
        "",
        "# 没有表头",
        "---\nlicense: mit\n---\n",
        "---\nconfigs:\n- data_files:\n  - split: train\n    path: data/*.parquet\n---\n",
        "---\nsource: https://example.com\nconfigs: []\n---\nsee http://127.0.0.1",
        "---\n- a list\n---\n",
        "---\n: : not yaml [\n---\n",
    ],
)
def test_an_ordinary_card_is_no_hindrance(card):
    check_card(card, where="README.md")


def cached(folder: Path, card: str) -> Path:
    """A copy of a data set in the hub's cache, its rows a link to a blob as `hf download` makes."""
    home = folder / "hub" / "datasets--acme--tiny"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    row = {"prompt": "打开空调", "answer": "好"}
    (home / "blobs" / "abc").write_text(json.dumps(row))
    (snapshot / "train.jsonl").symlink_to("../../blobs/abc")
    (snapshot / "README.md").write_text(card)
    return snapshot


def read_hub(folder: Path) -> str:
    """What reading the cached data set says, in a process whose cache it is."""
    code = (
        "from curation.sources.hub import hub\n"
        f"try: print(next(hub(repo='acme/tiny', revision='{COMMIT}')()))\n"
        "except (ValueError, OSError) as error: print('refused:', error)\n"
    )
    environment = os.environ | {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "PYTHONPATH": "."}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_card_makes_no_request_and_opens_no_file_of_this_machine(tmp_path):
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    front = "---\nconfigs:\n- config_name: default\n  data_files: {}\n---\n"
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/train.jsonl"
        snapshot = cached(tmp_path / "a", front.format(address))
        assert f"README.md names '{address}', which is no file of the data set" in read_hub(
            tmp_path / "a"
        )
        assert seen == []
        (tmp_path / "secret.jsonl").write_text('{"prompt": "canary-7f3a", "answer": "x"}')
        for secret in (tmp_path / "secret.jsonl", "../../../../../secret.jsonl"):
            (snapshot / "README.md").write_text(front.format(secret))
            said = read_hub(tmp_path / "a")
            assert said.startswith("refused:") and "canary" not in said
        (snapshot / "README.md").write_text(front.format("train.jsonl"))
        assert "打开空调" in read_hub(tmp_path / "a")
    finally:
        server.shutdown()
        server.server_close()


def test_a_link_out_of_a_cached_data_set_is_refused(tmp_path):
    (tmp_path / "secret.jsonl").write_text('{"prompt": "canary-7f3a", "answer": "x"}')
    snapshot = cached(tmp_path, "")
    (snapshot / "more.jsonl").symlink_to(tmp_path / "secret.jsonl")
    said = read_hub(tmp_path)
    assert "more.jsonl in the local copy: a symbolic link that leads out" in said
    assert "canary" not in said
