"""Plug-ins: one file each, found by its folder, described by its own signature.

A plug-in is a decorated factory: options go in as keyword arguments, data goes into what it
returns. The file name is the plug-in's name and the factory's signature is the schema of its recipe
section, so there is nothing to register and nothing to describe twice.
"""

import difflib
import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

Secret = NewType("Secret", str)
"""The *name* of an environment variable that holds a secret; never the secret itself."""


def plugin(
    *,
    uses: Iterable[str] = (),
    compares: bool = False,
    better: Literal["higher", "lower", ""] = "higher",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a factory as the plug-in of its file; `uses` names extra inputs its product reads.

    One that `compares` rows gives a `semantic.Comparison` instead of a `Scorer`. Of a metric,
    `better` says which of two numbers is; "" where neither.
    """

    def mark(factory: Callable[..., Any]) -> Callable[..., Any]:
        factory.__winnow_uses__ = tuple(uses)  # type: ignore[attr-defined]
        factory.__winnow_compares__ = compares  # type: ignore[attr-defined]
        factory.__winnow_better__ = better  # type: ignore[attr-defined]
        return factory

    return mark


def plugin_names(folder: str) -> list[str]:
    """The plug-ins of a package such as `curation.sources`, without importing them."""
    package = importlib.import_module(folder)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def find_plugin(folder: str, name: str) -> Callable[..., Any]:
    """The factory of `folder/name.py`; `ValueError` with the nearest name when there is none."""
    names = plugin_names(folder)
    if name not in names:
        kind = folder.rpartition(".")[2].removesuffix("s").replace("_", " ")
        raise ValueError(f"no {kind} is called {name!r}{nearest(name, names)}")
    module = importlib.import_module(f"{folder}.{name}")
    for value in vars(module).values():
        if hasattr(value, "__winnow_uses__") and value.__module__ == module.__name__:
            return value
    raise ValueError(f"{folder}/{name}.py has no function marked with @plugin()")


def plugin_uses(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the extra inputs (`reference`, `base_model`, `reward_model`) of a plug-in."""
    return getattr(factory, "__winnow_uses__", ())


def takes_secret(factory: Callable[..., Any]) -> bool:
    """Whether an option names a secret, as those of plug-ins do that call a service."""
    return Secret in get_type_hints(factory).values()


def plugin_compares(factory: Callable[..., Any]) -> bool:
    """Whether a scorer compares rows with one another, instead of measuring each alone."""
    return getattr(factory, "__winnow_compares__", False)


def plugin_better(factory: Callable[..., Any]) -> str:
    """Whether the `higher` or the `lower` number of a metric is better; "" where neither is."""
    return getattr(factory, "__winnow_better__", "higher")


def nearest(name: str, names: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the closest known name, else the list of the known ones."""
    names = list(names)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(names)})"


def check_options(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    where: str,
    base: Path = Path(),
    environment: Mapping[str, str] | None = None,
    given: Iterable[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Match a recipe section with the keyword-only arguments of the function it configures.

    Returns the arguments (paths resolved against `base`) and one line for each mistake. Arguments
    named in `given` are supplied by the caller and may not stand in the section.
    """
    hints = get_type_hints(function)
    parameters = {
        p.name: p
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in set(given)
    }
    errors = [
        f"{where}: unknown key {key!r}{nearest(key, parameters)}"
        for key in options
        if key not in parameters
    ]
    errors += [
        f"{where}: {name!r} is missing"
        for name, p in parameters.items()
        if p.default is p.empty and name not in options
    ]
    arguments: dict[str, Any] = {}
    for name, value in options.items():
        if name in parameters:
            arguments[name], error = _coerce(value, hints.get(name, Any), base, environment)
            errors += [f"{where}.{name}: {error}"] if error else []
    for name, p in parameters.items():
        if hints.get(name) is Secret and name not in options and p.default is not p.empty:
            error = _coerce(p.default, Secret, base, environment)[1]
            errors += [f"{where}.{name}: {error}"] if error else []
    return arguments, errors


def _coerce(value: Any, hint: Any, base: Path, env: Mapping[str, str] | None) -> tuple[Any, str]:
    """The value as its annotation wants it, and what is wrong with it ("" when nothing is)."""
    if hint is Any:
        return value, ""
    if hint is Secret:
        return value, _secret_error(value, env)
    if hint is Path:
        return base / str(value), _path_error(str(value), base)
    if get_origin(hint) in (Union, types.UnionType):
        tried = [_coerce(value, option, base, env) for option in get_args(hint)]
        return next((t for t in tried if not t[1]), tried[0])
    if get_origin(hint) is Literal:
        known = [str(a) for a in get_args(hint)]
        return value, "" if value in get_args(
            hint
        ) else f"{value!r} is not known{nearest(value, known)}"
    if get_origin(hint) in (list, tuple) or is_dataclass(hint):
        coerce = _coerce_group if is_dataclass(hint) else _coerce_list
        return coerce(value, hint, base, env)
    kind = get_origin(hint) or hint
    if kind is float and type(value) in (int, float):
        return float(value), ""
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    return value, f"expected {_kind_name(kind)}, got {value!r}" if wrong else ""


def _coerce_list(
    value: Any, hint: Any, base: Path, env: Mapping[str, str] | None
) -> tuple[Any, str]:
    if not isinstance(value, list | tuple):
        return value, f"expected a list, got {value!r}"
    inner = (get_args(hint) or (Any,))[0]
    pairs = [_coerce(v, inner, base, env) for v in value]
    return [p[0] for p in pairs], next((p[1] for p in pairs if p[1]), "")


def _coerce_group(
    value: Any, hint: Any, base: Path, env: Mapping[str, str] | None
) -> tuple[Any, str]:
    """A mapping as the dataclass that names what it may hold."""
    if not isinstance(value, Mapping):
        return value, f"expected a mapping, got {value!r}"
    arguments, errors = check_options(hint, value, where="", base=base, environment=env)
    try:
        return (value, errors[0].lstrip(":. ")) if errors else (hint(**arguments), "")
    except ValueError as error:
        return value, str(error)


def _path_error(value: str, base: Path) -> str:
    if "://" in value:
        return f"{value!r} is an address; files are read here: fetch it and name the file"
    if "\0" in value:
        return f"{value!r} holds a NUL character"
    return "" if (base / value).exists() else f"file {value!r} does not exist under {str(base)!r}"


def _secret_error(value: Any, env: Mapping[str, str] | None) -> str:
    if not isinstance(value, str) or not value.replace("_", "").isalnum() or value != value.upper():
        return "name the environment variable that holds the secret, such as OPENAI_API_KEY"
    if env is not None and not env.get(value):
        return f"the environment variable {value} is not set; export {value}=…"
    return ""


def _kind_name(kind: Any) -> str:
    words = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        dict: "a mapping",
        Mapping: "a mapping",
    }
    return words.get(kind, getattr(kind, "__name__", str(kind)))
