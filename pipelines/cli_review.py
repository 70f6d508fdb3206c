"""`winnow review`: the page on which people judge rows, or answers of models, served here."""

import argparse
import os
import secrets
import socket
import webbrowser
from typing import Any

from pipelines.cli_judging import add_judging, open_judging
from pipelines.cli_parts import existing_store, read_recipe

REVIEW_EXAMPLE = "winnow review --reviewer 审阅甲 --open"
TOKEN = "WINNOW_REVIEW_TOKEN"
LOCAL = ("127.0.0.1", "localhost")
SHORTEST_TOKEN = 16


def add_review(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "review",
        help="a page on which people judge the rows that wait for them, or answers of models",
        description="Serves a page on which people accept, reject or edit the rows that wait for "
        "them, one at a time and by keys; or choose the better of the answers of two versions, or "
        "rate those of one, without a word of which version it is. What they say is in the inbox "
        "when the page says so.",
        parents=[common],
        epilog=f"example:\n  {REVIEW_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8710, help="where it listens (default 8710)")
    parser.add_argument(
        "--host", default=LOCAL[0], help=f"another one than {LOCAL[0]} needs the token in ${TOKEN}"
    )
    parser.add_argument("--reviewer", default="", metavar="NAME", help="who sits before it")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument(
        "--size", type=int, default=500, metavar="N", help="rows of a queue (default 500)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")
    add_judging(parser)
    parser.set_defaults(command=review)


def review(args: argparse.Namespace) -> int:
    import uvicorn

    from pipelines.review.app import review_app

    recipe, store = read_recipe(args), existing_store(args)
    token = read_token(args.host)
    desk = _open_desk(args, store, recipe)
    app = review_app(
        desk,
        token=token or secrets.token_urlsafe(24),
        hosts=LOCAL if args.host in LOCAL else ["*"],
        shown=not token,
        reviewer=args.reviewer,
    )
    listening = socket.create_server((args.host, args.port))
    url = f"http://{args.host}:{listening.getsockname()[1]}"
    print(f"{url}\nCtrl+C ends it; what is said is kept as it comes", flush=True)
    if args.open:
        webbrowser.open(url)
    try:
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
    finally:
        desk.close()
    return 0


def _open_desk(args: argparse.Namespace, store: Any, recipe: Any) -> Any:
    from curation.review_desk import Desk

    if args.blind or args.rate:
        return open_judging(args, store, recipe)
    about = {"keep": recipe.keep, "task": recipe.task}
    return Desk(store, recipe.name, size=args.size, seed=args.seed, **about)


def read_token(host: str) -> str:
    """The token that the environment gives, "" for none.

    Raises `ValueError` for one that is too short, and for none where others can reach the page.
    """
    token = os.environ.get(TOKEN, "")
    if 0 < len(token) < SHORTEST_TOKEN:
        raise ValueError(f"{TOKEN} has {len(token)} characters; at least {SHORTEST_TOKEN} it takes")
    if not token and host not in LOCAL:
        raise ValueError(f"others can reach {host!r}: set {TOKEN} to a secret that they must know")
    return token
