"""The HTTP door: who may post, how much, and that it tells nobody what was posted."""

import http.client
import json
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from curation.bad_cases import read_inbox, read_quarantine
from curation.intake_post import MAX_LINES, TooLarge, gunzip, read_body
from curation.store import Store
from tests.pipelines._serving import TOKEN, Serving, packed, serving

MB = 1 << 20
CASE = {"prompt": "打开空调", "gold": "好的", "predicted": "no"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("guarded") / "s", "--max-mb", "1") as server:
        yield server


def peak_mb(server: Serving) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)) / 1024


@pytest.mark.parametrize(
    "given",
    ["", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", TOKEN,
     f"Bearer {TOKEN.upper()}", "Bearer caf\xe9"],
)  # fmt: skip
def test_without_the_token_nothing_is_read(server, given):
    status, said = server.post(CASE, Authorization=given)
    assert status == 401 and "lines" not in said and TOKEN not in str(said)


def test_the_token_is_compared_in_constant_time():
    """Digests of equal length are compared, by the function that is made for it."""
    source = Path("pipelines/http_parts.py").read_text(encoding="utf-8")
    assert "hmac.compare_digest(_digest(given.strip()), _digest(token))" in source
    assert "== token" not in source and "token ==" not in source


def test_without_a_token_no_web_page_may_post(tmp_path):
    """A page may have a browser post to this machine, or give it a name of its own."""
    with serving(tmp_path / "s", token="") as server:
        assert server.post(CASE, Origin="https://evil.example")[0] == 403
        for host in ("evil.example", "evil.example:8787", "127.0.0.1.evil.example", "["):
            assert server.post(CASE, Host=host)[0] in (400, 403)
        for number, host in enumerate(("localhost", "127.0.0.1:1", "[::1]", "[::1]:8787")):
            assert server.post({**CASE, "predicted": f"{number}"}, Host=host)[0] == 200
    assert len(read_inbox(Store(tmp_path / "s"))) == 4


def test_a_body_that_says_it_is_too_large_is_refused_unread(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/v1/bad-cases")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413  # before a byte of it was sent
    connection.close()


def test_a_body_without_a_length_is_cut_off_at_the_limit(server):
    """What is sent in pieces is counted as it comes; the rest is never taken in."""
    before = peak_mb(server)

    def pieces():
        for _ in range(200):
            yield b'{"prompt": "' + b"x" * MB

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        connection.request("POST", "/v1/bad-cases", pieces(), headers, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server closed before it was told all
    connection.close()
    assert peak_mb(server) - before < 60
    assert server.ask("GET", "/health")[0] == 200


def test_many_large_bodies_at_once_are_put_off_and_those_in_hand_go_on(server):
    """Eight times the largest body may be held; who comes then is told to come later."""
    body = json.dumps({**CASE, "predicted": "x" * (MB - 200)}).encode()
    begun = []
    for _ in range(9):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("POST", "/v1/bad-cases")
        connection.putheader("Authorization", f"Bearer {TOKEN}")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:-1])
        begun.append(connection)
    assert server.post(CASE)[0] in (200, 503)
    statuses = []
    for connection in begun:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused already
            connection.send(b"}")
        statuses.append(connection.getresponse().status)
        connection.close()
    assert sorted(statuses) == [200] * 8 + [503]
    assert server.post(CASE)[0] == 200


def test_a_gzip_bomb_is_refused_before_it_unfolds(server):
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    bomb = b"".join([*(packer.compress(b"x" * MB) for _ in range(120)), packer.flush()])
    assert len(bomb) < MB
    before = peak_mb(server)
    status, said = server.post(bomb, **{"Content-Encoding": "gzip"})
    assert status == 413 and "unfolds into more than" in said["error"]
    assert peak_mb(server) - before < 60


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"no gzip", "gzip", 400),
        (packed(b"{}")[:-5], "gzip", 400),
        (packed(b"{}") * 1000, "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused(server, body, encoding, status):
    assert server.post(body, **{"Content-Encoding": encoding})[0] == status


def test_many_tiny_lines_are_refused_in_one_post():
    assert len(read_body(b"1\n" * MAX_LINES)) == MAX_LINES
    with pytest.raises(TooLarge, match="more than 10,000 lines"):
        read_body(b"1\n" * (MAX_LINES + 1))
    with pytest.raises(TooLarge):
        read_body(json.dumps([0] * (MAX_LINES + 1)).encode())
    assert gunzip(packed(b"x" * 10), max_bytes=10) == b"x" * 10
    with pytest.raises(TooLarge):
        gunzip(packed(b"x" * 11), max_bytes=10)


HOSTILE = {
    "deep list": b"[" * 50_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep and whole": b"[" * 900 + b"]" * 900,
    "deep in a message": b'{"messages": ' + b'[{"content":' * 450 + b"1" + b"}]" * 450 + b"}",
    "deep attributes": b'{"attributes": [{"key": "gen_ai.x", "value": '
    + b'{"arrayValue": {"values": [' * 150 + b"]}}" * 150 + b"}]}",
    "long number": b'{"prompt": ' + b"9" * 100_000 + b"}",
    "not UTF-8": b'{"prompt": "\xff", "gold": "a", "predicted": "b"}',
    "NUL": b'{"prompt": "\\u0000", "gold": "a", "predicted": "b"}',
    "escape": b'{"prompt": "\\u001b[2J", "gold": "a", "predicted": "b"}',
    "bidi": '{"prompt": "打\u202e开", "gold": "a", "predicted": "b"}'.encode(),
    "two keys": b'{"prompt": "x", "gold": "a", "gold": "c", "predicted": "b"}',
    "half a pair": b'[{"prompt": "\\ud83d", "gold": "a", "predicted": "b"}]',
    "NaN": b'{"prompt": NaN, "gold": "a", "predicted": "b"}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_costs_itself_and_the_next_post_goes_on(server, name):
    status, said = server.post(HOSTILE[name])
    assert status == 200 and (said["new"], said["quarantined"]) == (0, 1), said
    answer = server.post({**CASE, "predicted": name})
    assert answer[0] == 200 and answer[1]["new"] == 1


def test_neither_bodies_nor_tokens_are_written_to_the_output(tmp_path):
    with serving(tmp_path / "s", "--max-mb", "1") as server:
        assert server.post({**CASE, "predicted": "canary-body"})[1]["new"] == 1
        server.post(b'{"canary-body": ')
        server.post(b"canary-body" * MB)
        server.post(CASE, Authorization=f"Bearer {TOKEN}-canary-wrong")
        server.ask("GET", f"/v1/bad-cases?token={TOKEN}")
        server.stop()
        assert server.process.stdout and b"canary" not in server.process.stdout.read()
        assert "canary" not in server.output.read_text()
    files = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert "canary-body" in read_quarantine(Store(tmp_path / "s"))[0]["raw"]
