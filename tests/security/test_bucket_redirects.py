"""A bucket that sends its callers elsewhere: what it is asked is signed for it and nobody else."""

import os
from contextlib import suppress

import polars as pl
import pytest

from curation.bucket import TRUSTED, _check_token
from curation.store import Corrupt, Made, Store
from tests.s3_server import BUCKET, KEYS
from tests.security.test_endpoint import another_host

PLACE = f"s3://{BUCKET}/x"
TOKEN = "session-token-canary"


def test_a_store_that_is_sent_elsewhere_is_not_opened_and_nothing_goes_there(s3, tmp_path):
    with another_host() as (elsewhere, seen):
        s3.moved_to = elsewhere
        with pytest.raises(OSError, match="307 Temporary Redirect") as caught:
            Store(PLACE, local=tmp_path)
    assert s3.log and seen == []
    assert "\n" not in str(caught.value)
    assert not any(secret in str(caught.value) for secret in list(KEYS.values())[:2])


def sent_elsewhere(s3, folder) -> list[str]:
    """What another host sees of an open store whose bucket begins to send its callers there."""
    store = Store(PLACE, local=folder)
    made = Made({"rows": pl.DataFrame({"id": ["a"]})})
    version = store.write_version("x/rows", made, inputs={}, how={})
    store.publish(version)
    calls = [
        lambda: store.head("x/rows"),
        lambda: store.frame_path(version.key, anew=True),
        lambda: store.blobs.exists("format.json"),
        lambda: store.blobs.remove("memo/none.json"),
        lambda: store.remember("memo", {"manifest": version.key}),
        lambda: store.put_json("values", {"n": 1}),
    ]
    with another_host() as (elsewhere, seen):
        s3.moved_to = elsewhere
        for call in calls:
            with suppress(OSError, Corrupt):
                call()
    return seen


def test_a_redirect_takes_neither_what_is_written_nor_the_signature_along(s3, tmp_path):
    seen = sent_elsewhere(s3, tmp_path)
    assert seen  # obstore follows redirects of what has no body to stream, and no option forbids it
    assert not any(request.startswith("PUT") for request in seen)
    said = "\n".join(seen).lower()
    assert "authorization" not in said and "signature" not in said
    assert not any(secret.lower() in said for secret in list(KEYS.values())[:2])


def test_a_session_token_is_not_given_to_an_endpoint_that_could_send_it_on(
    s3, tmp_path, monkeypatch
):
    """A redirect would take it along."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    for trusted in ("", "https://s3.example.com", s3.url.upper()):
        monkeypatch.setenv(TRUSTED, trusted)
        with pytest.raises(ValueError, match=f"by a redirect.*set {TRUSTED}") as caught:
            Store(PLACE, local=tmp_path)
        assert TOKEN not in str(caught.value)
    assert s3.log == []
    monkeypatch.setenv(TRUSTED, s3.url)
    assert TOKEN in "\n".join(sent_elsewhere(s3, tmp_path)).lower()  # and so it must be trusted


@pytest.mark.parametrize("name", ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://bucket.s3.eu-west-1.amazonaws.com", True),
        ("", True),
        ("https://oss-cn-hangzhou.aliyuncs.com", False),
        ("https://amazonaws.com.evil.example", False),
        ("https://notamazonaws.com", False),
    ],
)
def test_only_aws_itself_is_trusted_with_a_session_token_unasked(
    s3, tmp_path, monkeypatch, name, address, fine
):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    for key, value in (("AWS_SESSION_TOKEN", TOKEN), (name, address)):
        monkeypatch.setenv(key, value)
    if fine:
        _check_token(os.environ)
    else:
        with pytest.raises(ValueError, match="by a redirect"):
            Store(PLACE, local=tmp_path)
