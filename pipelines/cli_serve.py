"""`winnow serve`: takes bad cases by HTTP until it is stopped."""

import argparse
import os
import socket
from typing import Any

from pipelines.paths import INTAKE_TOKEN

SERVE_EXAMPLE = "winnow serve --port 8787"
MIN_TOKEN = 16
_EPILOG = f"""example:
  {SERVE_EXAMPLE}

post one case, a list or JSON Lines; 200 means that all of it is on disk:
  curl -H "Authorization: Bearer $WINNOW_INTAKE_TOKEN" --data-binary @cases.jsonl \\
    http://127.0.0.1:8787/v1/bad-cases
  curl -H "Authorization: Bearer $WINNOW_INTAKE_TOKEN" -d '{{"prompt": "打开空调",
    "gold": "好的，已打开空调", "predicted": "好的，已打开车窗"}}' http://127.0.0.1:8787/v1/bad-cases
发送一条、一个列表或 JSON Lines；返回 200 即表示全部已落盘，其他返回码可原样重发，重复的不会再计入。
"""


def add_serve(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        help="take bad cases by HTTP",
        description="Take bad cases by HTTP until it is stopped; what is waiting then is written "
        f"first. The token stands in {INTAKE_TOKEN}; without one only this machine may post.",
        parents=[common],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="(default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8787, help="(default 8787; 0 for a free one)")
    parser.add_argument(
        "--max-mb", type=int, default=8, metavar="MB", help="largest body, unpacked (default 8)"
    )
    parser.add_argument("--form", default="auto", help="of the records; auto goes by their keys")
    parser.add_argument(
        "--gold", default="", metavar="KEY", help="where the corrected answer stands"
    )
    parser.add_argument(
        "--found-by", default="", metavar="NAME", help="who or what found those that do not say"
    )
    parser.set_defaults(command=serve)


def serve(args: argparse.Namespace) -> int:
    import uvicorn

    from curation.intake_commit import Committer
    from curation.intake_forms import read_forms
    from curation.rows import clean_text
    from curation.store import Store
    from pipelines.paths import store_path
    from pipelines.serve import PATH, Rules, make_app

    token = read_token(args.host, INTAKE_TOKEN)
    if not 1 <= args.max_mb <= 1024:
        raise ValueError(f"--max-mb {args.max_mb} is not between 1 and 1024")
    read_forms((), form=args.form)
    rules = Rules(token, args.max_mb << 20, args.form, args.gold)
    door = listen(args.host, args.port)
    committer = Committer(Store(store_path(args.store)), found_by=clean_text(args.found_by))
    config = uvicorn.Config(
        make_app(committer, rules),
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="none",
        limit_concurrency=512,
        timeout_graceful_shutdown=30,
    )
    host = f"[{args.host}]" if ":" in args.host else args.host
    print(f"bad cases are taken at http://{host}:{door.getsockname()[1]}{PATH}", flush=True)
    if not token:
        print(f"{INTAKE_TOKEN} is not set: anybody on this machine may post", flush=True)
    uvicorn.Server(config).run(sockets=[door])
    return 0


def read_token(host: str, variable: str) -> str:
    """The token that posts must bear, "" for none, which only this machine's own address allows."""
    from pipelines.http_parts import LOCAL

    token = os.environ.get(variable, "").strip()
    if token and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise ValueError(f"{variable} must be {MIN_TOKEN} or more ASCII characters; not shown here")
    if not token and host not in LOCAL:
        raise ValueError(f"--host {host} can be reached by others: set {variable}")
    return token


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; `OSError` with the address where it cannot."""
    if not 0 <= port <= 65_535:
        raise ValueError(f"--port {port} is not between 0 and 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port}: {error}") from None
