"""What goes to an endpoint and what comes back: an address without secrets, a key nobody repeats.

An endpoint may echo the key in a body, a header error may quote it. Whatever comes back passes the
mask before it is judged, kept or said.
"""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

_SECRET_CHARS = 8
"""Shorter keys ("EMPTY", "none") stand for no key at all, and may be words of an answer."""


def check_base_url(base_url: str) -> None:
    """Raise `ValueError`, without showing a secret, for an address no call may go to.

    Local and private addresses are welcome: many endpoints run beside the pipeline.
    """
    if not base_url.startswith(("http://", "https://")):
        shown = base_url if "@" not in base_url else f"…{base_url.rpartition('@')[2]}"
        raise ValueError(f"base_url {shown!r} does not begin with http:// or https://")
    if re.search(r"[\s\\\x00-\x1f\x7f]", base_url):
        raise ValueError("base_url holds a space, a backslash or a control character")
    if "@" in base_url:  # anywhere: a password may hold what looks like the end of the host
        raise ValueError("base_url holds a user or password; name the key's variable in api_key")
    parts = urlsplit(base_url)
    if parts.query or parts.fragment:
        raise ValueError("base_url ends in ?… or #…; name the key's variable in api_key")
    if not parts.hostname:
        raise ValueError(f"base_url {base_url!r} names no host")


def check_key(api_key: str) -> str:
    """The key without spaces around it; `ValueError`, not showing it, if no header can hold it."""
    key = api_key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the key holds a character that no header may carry; copy it again")
    return key


def key_mask(api_key: str) -> Callable[[str], str]:
    """A function that puts `***` for the key in a text, also where JSON escapes spell it."""
    if len(api_key) < _SECRET_CHARS:
        return lambda text: text
    letters = (rf"(?:\\?{re.escape(c)}|\\u(?i:{ord(c):04x}))" for c in api_key)
    pattern = re.compile("".join(letters))
    return lambda text: pattern.sub("***", text)
