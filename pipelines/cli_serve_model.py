"""`winnow serve-model`: answers requests with model versions, and follows what is in use."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pipelines.cli_parts import Argument, add_command, existing_store, read_recipe, show
from pipelines.cli_text import Lines, aligned, number
from pipelines.paths import MODEL_TOKEN

MODEL_SERVER_EXAMPLES = {"serve-model": "winnow serve-model champion v6 --split 0.1"}
_MOST_ARMS = 2
_EPILOG = f"""
ask it as OpenAI's clients do, and say of an answer by its id what it should have been:
  curl http://127.0.0.1:8790/v1/chat/completions -H "Authorization: Bearer ${MODEL_TOKEN}" \\
    -d '{{"user": "u1", "messages": [{{"role": "user", "content": "打开空调"}}]}}'
  curl http://127.0.0.1:8790/v1/feedback -H "Authorization: Bearer ${MODEL_TOKEN}" \\
    -d '{{"id": "chatcmpl-…", "corrected": "好的，已打开空调"}}'
The recipe's system turn is put in where a request has none, through the template that is packaged
with the model, and answers are greedy unless a request gives a temperature.
回答的 id 加上 "corrected"（正确答案）或 "rating": "down" 即成为该版本的一条 bad case。
"""
_ARGUMENTS: list[Argument] = [
    (
        ("versions",),
        {
            "nargs": "*",
            "metavar": "VERSION",
            "help": "v7, an id, latest or champion (the default), which is followed when another "
            "version comes into use; a second one answers the share --split",
        },
    ),
    (
        ("--split",),
        {"type": float, "metavar": "SHARE", "help": "of users for the second (default 0.5)"},
    ),
    (
        ("--server",),
        {
            "action": "append",
            "metavar": "WHAT",
            "help": "transformers (default), vllm, a command line with {port} and {folder}, or the "
            "http:// address of one that serves the version already, given once for each",
        },
    ),
    (
        ("--dtype",),
        {
            "default": "bfloat16",
            "choices": ["bfloat16", "float16", "float32"],
            "help": "what the merged weights are rounded to (default bfloat16)",
        },
    ),
    (("--host",), {"default": "127.0.0.1", "help": "(default 127.0.0.1)"}),
    (("--port",), {"type": int, "default": 8790, "help": "(default 8790; 0 for a free one)"}),
    (("--max-mb",), {"type": int, "default": 8, "metavar": "MB", "help": "largest request"}),
    (("--timeout-s",), {"type": float, "default": 120.0, "help": "for an answer (default 120)"}),
    (("--start-s",), {"type": float, "default": 600.0, "help": "for a server to come up (600)"}),
    (("--poll-s",), {"type": float, "default": 5.0, "help": "how often the registry is looked at"}),
    (("--report",), {"action": "store_true", "help": "what became of the answers, by version"}),
    (("--json",), {"action": "store_true", "help": "the report for programs"}),
]


def add_model_server(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    said = (serve_model, "answer requests with model versions, and log the answers", _ARGUMENTS)
    example = MODEL_SERVER_EXAMPLES["serve-model"]
    parser = add_command(commands, "serve-model", said, example=example, common=common)
    parser.epilog = f"{parser.epilog}\n{_EPILOG}"


def serve_model(args: argparse.Namespace) -> int:
    from curation.served import SERVED, read_rated
    from evaluation.served import report_served

    store = existing_store(args)
    if args.report:
        said = report_served(read_rated(store.root / SERVED))
        return show(args, said, _say_report(said))
    _check_numbers(args)
    return _serve(args, store)


def _serve(args: argparse.Namespace, store: Any) -> int:
    from curation.registry import find_version
    from pipelines.cli_serve import listen, read_token
    from pipelines.model_arms import Arm, Follower, Serving
    from pipelines.model_starter import ModelStarter
    from pipelines.serve_model import COMPLETIONS

    recipe, token = read_recipe(args), read_token(args.host, MODEL_TOKEN)
    names = args.versions or ["champion"]
    start = ModelStarter(
        store, recipe, args.server or ["transformers"],
        arms=len(names), dtype=args.dtype, start_s=args.start_s, report=_report,
    )  # fmt: skip
    start.check_names(names)
    wanted = [find_version(store, recipe.name, name) for name in names]
    door = listen(args.host, args.port)
    arms: list[Arm] = []
    follower = Follower(
        arms, lambda name: find_version(store, recipe.name, name), start, report=_report,
        every_s=args.poll_s,
    )  # fmt: skip
    try:
        for label, name, version in zip("ab", names, wanted, strict=False):
            arms.append(Arm(label, name, Serving(version, start(label, version))))
        server = _door(args, store, recipe, arms, token)
        follower.start()
        shares = " and ".join(_share(args, arm, arms) for arm in arms)
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"{shares} at http://{host}:{door.getsockname()[1]}{COMPLETIONS}", flush=True)
        if not token:
            print(f"{MODEL_TOKEN} is not set: anybody on this machine may ask", flush=True)
        server.run(sockets=[door])
    finally:
        start.stopped.set()
        follower.close()
        door.close()
    return 0


def _door(args: argparse.Namespace, store: Any, recipe: Any, arms: Any, token: str) -> Any:
    """The server of the door, which is yet to run."""
    import uvicorn

    from curation.intake_commit import Committer
    from curation.served import SERVED, ServedLog
    from pipelines.serve_model import DoorRules, make_model_app

    rules = DoorRules(token, recipe.task.system, _split(args), args.max_mb << 20, args.timeout_s)
    app = make_model_app(arms, ServedLog(store.root / SERVED), Committer(store), rules)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="none",
        limit_concurrency=512,
        timeout_graceful_shutdown=30,
    )
    return uvicorn.Server(config)


def _check_numbers(args: argparse.Namespace) -> None:
    if len(args.versions) > _MOST_ARMS:
        raise ValueError(f"{len(args.versions)} versions: one, or two beside one another")
    if args.split is not None and (len(args.versions) < _MOST_ARMS or not 0 < args.split < 1):
        raise ValueError(f"--split {args.split:g} is a share between 0 and 1 for the second of two")
    if not 1 <= args.max_mb <= 1024:  # noqa: PLR2004
        raise ValueError(f"--max-mb {args.max_mb} is not between 1 and 1024")
    for name in ("timeout_s", "start_s", "poll_s"):
        if not getattr(args, name) > 0:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name):g} is not above 0")


def _split(args: argparse.Namespace) -> float:
    return 0.5 if args.split is None else args.split


def _share(args: argparse.Namespace, arm: Any, arms: list[Any]) -> str:
    if len(arms) == 1:
        return f"{arm.serving.label} answers"
    split = _split(args)
    share = split if arm is arms[-1] else 1 - split
    return f"{arm.serving.label} answers {share:.0%}"


def _say_report(said: Mapping[str, Any]) -> Lines:
    if not said["versions"]:
        yield "no answer was logged yet: `winnow serve-model` logs them"
        return
    names = ["", "arm", "requests", "users", "failed", "p50 s", "p95 s", "rated", "wrong", "share"]
    keys = ("requests", "units", "failed", "p50_s", "p95_s", "rated", "bad", "bad_share")
    rows = [
        [f"v{one['version']}", "+".join(one["arms"]), *(number(one[key]) for key in keys)]
        for one in said["versions"]
    ]
    yield from aligned([names, *rows], right=range(2, len(names)))
    for pair in said["against"]:
        yield f"v{pair['new']} against v{pair['old']}:"
        yield from (f"  {line}" for line in pair["lines"])


def _report(line: str) -> None:
    print(f"winnow: {line}", file=sys.stderr, flush=True)
