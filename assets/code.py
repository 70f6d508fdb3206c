"""The code version of a stage: a digest of the functions that do its work, and of nothing else.

From the stage's function we follow the names it uses to the modules of this project they come from,
and on through those modules' own imports. Docstrings and comments do not count. Third-party
packages met on the way count by their installed version.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import platform
import types
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

OWN = ("curation", "training", "evaluation")
GLUE = (
    "assets.accounting", "assets.answers", "assets.curate", "assets.delta", "assets.facts",
    "assets.unique",
)  # fmt: skip
"""Files of glue whose functions others use."""
WATCHED = (
    "bitsandbytes", "datasets", "datasketch", "fasttext", "nltk", "openai", "peft", "polars",
    "rouge_score", "sacrebleu", "tokenizers", "torch", "transformers", "trl",
)  # fmt: skip
"""Packages whose upgrade may change a result."""
_PYTHON = ".".join(platform.python_version_tuple()[:2])


def code_version(function: Callable[..., Any], extra: Iterable[str] = ()) -> str:
    """32 hex digits that change when the work of `function` may come out differently.

    `extra` names modules that are found by name only, such as the plug-ins a recipe chooses.
    """
    parts, own, packages = _follow(function, extra)
    return hashlib.sha256(repr([parts, own, packages]).encode()).hexdigest()[:32]


def describe_code(function: Callable[..., Any], extra: Iterable[str] = ()) -> dict[str, Any]:
    """What `code_version` is a digest of: `modules` (name: 16 hex digits) and `packages`.

    The stage's own function and its helpers count as the module they are written in.
    """
    parts, own, packages = _follow(function, extra)
    glue = hashlib.sha256(repr(parts).encode()).hexdigest()
    modules = {name: sha[:16] for name, sha in {**own, function.__module__: glue}.items()}
    return {"modules": modules, "packages": {"python": _PYTHON, **packages}}


def _follow(
    function: Callable[..., Any], extra: Iterable[str]
) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Syntax of the function and its helpers, digests of our modules, versions of packages."""
    path = inspect.getsourcefile(function)
    assert path, "stage functions are written in files"
    used, parts = _used_names(Path(path), function.__qualname__.partition(".")[0])
    modules = set(extra) | used
    seen: set[str] = set()
    while modules - seen:
        module = min(modules - seen)
        seen.add(module)
        modules |= {name for name in _imports(module) if name.split(".")[0] in OWN}
    own = {m: _module_digest(m) for m in sorted(seen) if m.split(".")[0] in OWN}
    outside = {name.split(".")[0] for m in own for name in _imports(m)} & set(WATCHED)
    versions = {name: _installed(name) for name in sorted(outside)}
    return sorted(parts), own, versions


@cache
def _used_names(path: Path, start: str) -> tuple[set[str], set[str]]:
    """Modules a function of a glue file uses; the syntax of it and of all it uses of that file."""
    tree = _tree(path)
    defined = {name: node for node in tree.body for name in _defined(node)}
    sources = {name: module for node in tree.body for name, module in _bound(node)}
    modules: set[str] = set()
    parts: set[str] = set()
    todo, done = [start] if start in defined else [], set()
    while todo:
        name = todo.pop()
        done.add(name)
        node = defined[name]
        parts.add(ast.dump(node))
        for inner in ast.walk(node):
            modules |= {module for _, module in _bound(inner)}
            if isinstance(inner, ast.Name):
                modules |= {sources[inner.id]} if inner.id in sources else set()
                todo += [inner.id] if inner.id in defined and inner.id not in done else []
                if sources.get(inner.id, "") in GLUE:  # another file of glue: only what is used
                    there = Path(__file__).with_name(sources[inner.id].partition(".")[2] + ".py")
                    used, more = _used_names(there, inner.id)
                    modules, parts = modules | used, parts | more
    return {m for m in modules if m.split(".")[0] in OWN}, parts


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a module gives to functions, classes and constants."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _bound(node: ast.AST) -> list[tuple[str, str]]:
    """(name, module it comes from) for each name an import statement binds."""
    if isinstance(node, ast.ImportFrom) and node.module:
        return [(a.asname or a.name, _origin(node.module, a.name)) for a in node.names]
    if isinstance(node, ast.Import):
        return [(a.asname or a.name.split(".")[0], a.name) for a in node.names]
    return []


def _origin(module: str, name: str) -> str:
    """`package.name` when the name imported from a package is itself one of our modules."""
    inner = f"{module}.{name}"
    return inner if inner in _files() else module


def _imports(module: str) -> frozenset[str]:
    return _compiled(module)[1]


def _module_digest(module: str) -> str:
    return _compiled(module)[0]


@cache
def _compiled(module: str) -> tuple[str, frozenset[str]]:
    """Digest of a module of ours, and the modules it may import.

    Compiled code, unlike a syntax tree, is made without Python objects for every expression; it
    knows no comments, and at this level neither docstrings nor assertions.
    """
    path = _files().get(module)
    if not path:
        return "", frozenset()
    source = path.read_text(encoding="utf-8")
    code = compile(source, module, "exec", dont_inherit=True, optimize=2)
    names = {name for part in _codes(code) for name in part.co_names}
    roots = {name for name in names if name.split(".")[0] in (*OWN, *WATCHED)}
    inner = {_origin(root, name) for root in roots & _files().keys() for name in names}
    return hashlib.sha256(_say(code).encode()).hexdigest(), frozenset(roots | inner)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Code and the code of every function and class in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _codes(const)


def _say(const: Any) -> str:
    """Code or a constant of it, without places in the file and the order of a set."""
    if isinstance(const, types.CodeType):
        told = (
            const.co_code, const.co_exceptiontable, const.co_flags, const.co_argcount,
            const.co_posonlyargcount, const.co_kwonlyargcount, const.co_names, const.co_varnames,
            const.co_freevars, const.co_cellvars, const.co_name, [_say(c) for c in const.co_consts],
        )  # fmt: skip
        return repr(told)
    if isinstance(const, frozenset):
        return f"set {sorted(map(_say, const))}"
    return f"({', '.join(map(_say, const))})" if isinstance(const, tuple) else repr(const)


@cache
def _installed(package: str) -> str:
    return importlib.metadata.version(package)


@cache
def _files() -> dict[str, Path]:
    """The file of each of our modules, by name."""
    root = Path(__file__).parent.parent
    found = {}
    for path in (p for package in OWN for p in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def _tree(path: Path) -> ast.Module:
    """The syntax tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _statements(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value.value = ""
    return tree


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements of a file at every depth; expressions, most of a tree, are not entered."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, None)
            todo += inner if isinstance(inner, list) else []
