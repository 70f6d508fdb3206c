"""The recipe: one YAML file that says what a project does, checked whole before any work.

Three shapes only: a section is the keyword arguments of one function; a mapping of named plug-ins,
where `use:` picks the factory and the key is the default; a list of rules. The function's signature
is the schema, so a new option needs no second description.
"""

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from assets.plug import Plug
from assets.recipe_keys import (
    ARMS,
    COUNTS,
    EVALUATE,
    FROM_STAGE,
    GIVEN,
    GIVEN_TO,
    KEYS,
    NAME,
    OPTIONAL,
    PLUGINS,
    SECTIONS,
)
from assets.recipe_said import said_of_results, without_folders
from assets.recipe_texts import check_texts
from assets.recipe_yaml import UniqueKeys
from curation.engines._base import Engine
from curation.ensemble import ENSEMBLE
from curation.mix import require_spread
from curation.plugins import check_options, find_plugin, nearest, plugin_better, plugin_names
from curation.quantiles import SUFFIX
from curation.rows import ROW_SCHEMA, digest
from evaluation.fairness import gap_name
from training.preference_options import check_preference
from training.trackers import require_trackers


class RecipeError(ValueError):
    """The recipe has mistakes; `lines` holds one line for each."""

    def __init__(self, path: Path, lines: Iterable[str]):
        self.lines = list(lines)
        super().__init__("\n".join(f"{path}: {line}" for line in self.lines))


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. Plug-ins are made on use; nothing here has read any data."""

    name: str
    path: Path
    raw: Mapping[str, Any]
    task_plug: Plug
    sources: Mapping[str, Plug]
    augment: Plug
    scorers: Mapping[str, Plug]
    metrics: Mapping[str, Plug]
    engine_plug: Plug
    options: Mapping[str, Mapping[str, Any]]  # section -> keyword arguments
    keep: tuple[str, ...]
    gate: tuple[str, ...]
    main_metric: str  # on which a candidate is held against the champion, case by case
    evaluate: Mapping[str, int]  # the whole numbers of that section
    slices: tuple[str, ...] = ()  # labels whose parts of the test set are held together

    @property
    def digest(self) -> str:
        """Digest of everything the recipe says of what is made, so of no engine."""
        return digest(said_of_results(self.raw))

    @property
    def text(self) -> str:
        """What it is a digest of as YAML; of an absolute path only its last part."""
        said = without_folders(said_of_results(self.raw))
        return yaml.safe_dump(said, allow_unicode=True, sort_keys=False)

    @cached_property
    def task(self) -> Any:
        return self.task_plug.make()

    @cached_property
    def engine(self) -> Engine:
        return self.engine_plug.make()

    @property
    def base_model(self) -> str:
        """`demo`, a local folder or a hub id."""
        return str(self.options["train"].get("base_model", "demo"))

    @property
    def scores(self) -> list[str]:
        """Names of the scores of a row: one for each scorer, and the ensemble if there is one."""
        return [*self.scorers, *([ENSEMBLE] if self.options[ENSEMBLE] else [])]

    def sections(self, names: str | Iterable[str]) -> Any:
        """What the recipe says under these keys, in a form that a digest can be taken of."""
        names, said = (names,) if isinstance(names, str) else names, said_of_results(self.raw)
        return {n: self.task_plug.section if n == "task" else said.get(n) for n in names}


def load_recipe(path: Path | str, *, environment: Mapping[str, str] | None = None) -> Recipe:
    """Read and check a recipe. Raises `RecipeError` with one line for each mistake found."""
    path = Path(path)
    raw = _read_yaml(path)
    env = os.environ if environment is None else environment
    return _Reader(path, raw, env).read()


class _Reader:
    """Collects every mistake of one recipe before saying any."""

    def __init__(self, path: Path, raw: Mapping[str, Any], env: Mapping[str, str]):
        self.path, self.raw, self.env = path, raw, env
        self.errors: list[str] = []

    def read(self) -> Recipe:
        self._keys()
        evaluate = self._mapping("evaluate")
        self.errors += [
            f"evaluate: unknown key {k!r}{nearest(k, EVALUATE)}"
            for k in evaluate
            if k not in EVALUATE
        ]
        metrics = evaluate.get("metrics", ["exact_match", "slot_f1", "json_valid", "general_bpb"])
        metrics = metrics if isinstance(metrics, dict) else {str(m): {} for m in metrics or ()}
        recipe = Recipe(
            name=str(self.raw.get("name", "")),
            path=self.path,
            raw=self.raw,
            task_plug=self._plug("task", "task", self.raw.get("task") or {"use": "free_text"}),  # type: ignore[arg-type]
            sources=self._sources(),
            augment=self._plug("augment", "augment", self.raw.get("augment") or {"use": "rules"}),  # type: ignore[arg-type]
            scorers=self._plugs("scorers", self._mapping("scorers")),
            metrics=self._plugs("metrics", metrics, where="evaluate.metrics"),
            engine_plug=self._engine(),  # type: ignore[arg-type]
            options={name: self._section(name) for name in SECTIONS},
            keep=self._rules("keep"),
            gate=self._rules("gate"),
            main_metric=str(evaluate.get("main", next(iter(metrics), ""))),
            evaluate={name: self._whole(evaluate, name, n) for name, n in COUNTS.items()},
            slices=self._slices(evaluate.get("slices", [])),
        )
        self.errors += [
            f"scorers.{name}: names that end in {SUFFIX} mean quantiles; rename it"
            for name in recipe.scorers
            if name.endswith(SUFFIX)
        ]
        if ENSEMBLE in self.raw and not recipe.scorers:
            self.errors.append(f"{ENSEMBLE}: it weighs scorers, and the recipe has none")
        if ENSEMBLE in self.raw and ENSEMBLE in recipe.scorers:
            self.errors.append(f"scorers.{ENSEMBLE}: this is the ensemble's own name; rename it")
        self._check_main(recipe)
        self._check_spread(recipe)
        self._check_rules(recipe)
        self._check_form(recipe)
        if "preference" in self.raw:
            train, said = (recipe.options[name] for name in ("train", "preference"))
            self.errors += check_preference(said, method=train.get("method"))
        self._check_trackers(recipe)
        self.errors += check_texts(recipe)
        if self.errors:
            raise RecipeError(self.path, self.errors)
        return recipe

    def _keys(self) -> None:
        for key in self.raw:
            if key not in KEYS:
                self.errors.append(f"unknown key {key!r}{nearest(str(key), KEYS)}")
        if not str(self.raw.get("name", "")).isidentifier():
            self.errors.append(
                f"name: expected a word of letters, digits and _, got {self.raw.get('name')!r}"
            )
        if not self.raw.get("sources"):
            self.errors.append("sources: at least one source is needed")

    def _engine(self) -> Plug | None:
        """The engine, made once to see that what it needs is installed."""
        plug = self._plug("engine", "engine", self.raw.get("engine") or {"use": "local"})
        if plug and not any(error.startswith("engine") for error in self.errors):
            try:
                plug.make()
            except ValueError as error:
                self.errors.append(f"engine: {error}")
        return plug

    def _mapping(self, key: str) -> Mapping[str, Any]:
        value = self.raw.get(key) or {}
        if isinstance(value, dict):
            return value
        self.errors.append(f"{key}: expected a mapping, got {value!r}")
        return {}

    def _whole(self, section: Mapping[str, Any], key: str, default: int) -> int:
        value = section.get(key, default)
        if type(value) is int and value >= 0:
            return value
        self.errors.append(f"evaluate.{key}: expected a whole number, got {value!r}")
        return default

    def _slices(self, said: Any) -> tuple[str, ...]:
        """Labels of rows, or keys of their records, as a rule of the gate can name them."""
        if isinstance(said, list) and all(isinstance(n, str) and n.isidentifier() for n in said):
            return tuple(dict.fromkeys(said))
        self.errors.append(f"evaluate.slices: expected a list of labels, got {said!r}")
        return ()

    def _section(self, name: str) -> Mapping[str, Any]:
        if name in OPTIONAL and name not in self.raw:
            return {}
        module, _, function = SECTIONS[name].partition(":")
        target = getattr(importlib.import_module(module), function)
        given = GIVEN | GIVEN_TO.get(name, set())
        options, errors = self._check(target, self._mapping(name), name, given)
        self.errors += errors
        return options

    def _check(
        self, target: Any, options: Mapping[str, Any], where: str, given: Iterable[str] = ()
    ) -> Any:
        return check_options(
            target, options, where=where, base=self.path.parent, environment=self.env, given=given
        )

    def _plug(
        self, kind: str, key: str, said: Any, where: str = "", common: Any = None
    ) -> Plug | None:
        where = where or key
        if not NAME.fullmatch(key):
            self.errors.append(f"{where!r}: a name is made of letters, digits, _ and -")
            return None
        if not isinstance(said, dict):
            self.errors.append(f"{where}: expected a mapping, got {said!r}")
            return None
        use = str(said.get("use", key))
        try:
            factory = find_plugin(PLUGINS[kind], use)
        except ValueError as error:
            self.errors.append(f"{where}: {error}")
            return None
        options = {k: v for k, v in said.items() if k != "use"}
        options, errors = self._check(factory, options, where)
        self.errors += errors
        return Plug(key, use, factory, options, common or {})

    def _plugs(self, kind: str, said: Mapping[str, Any], where: str = "") -> dict[str, Plug]:
        plugs = {
            k: self._plug(kind, str(k), v or {}, f"{where or kind}.{k}") for k, v in said.items()
        }
        return {k: plug for k, plug in plugs.items() if plug}

    def _sources(self) -> dict[str, Plug]:
        found = {str(k): self._source(str(k), v) for k, v in self._mapping("sources").items()}
        return {key: plug for key, plug in found.items() if plug}

    def _source(self, key: str, said: Any) -> Plug | None:
        """A source's section is for two functions: its plug-in, and `read_source` for the rest."""
        from curation.ingest import read_source

        where = f"sources.{key}"
        if not NAME.fullmatch(key):
            return self._plug("sources", key, said, where)  # which says what is wrong with it
        if not isinstance(said, dict):
            self.errors.append(f"{where}: expected a mapping, got {said!r}")
            return None
        # A source's own option goes before the common one of that name (hub: revision).
        own = self._own_keys(str(said.get("use", key)))
        shared = _common_keys(read_source) - own
        unknown = [k for k in said if own and k not in {"use", *own, *shared}]
        self.errors += [f"{where}: unknown key {k!r}{nearest(k, [*own, *shared])}" for k in unknown]
        common = {k: v for k, v in said.items() if k in shared}
        common, errors = self._check(read_source, common, where, FROM_STAGE)
        self.errors += errors
        rest = {k: v for k, v in said.items() if k not in shared and k not in unknown}
        return self._plug("sources", key, rest, where, common)

    def _own_keys(self, use: str) -> set[str]:
        known = use in plugin_names(PLUGINS["sources"])
        return _common_keys(find_plugin(PLUGINS["sources"], use)) if known else set()

    def _rules(self, key: str) -> tuple[str, ...]:
        value = self.raw.get(key) or []
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        self.errors.append(f"{key}: expected a list of rules, got {value!r}")
        return ()

    def _check_main(self, recipe: Recipe) -> None:
        name, plug = recipe.main_metric, recipe.metrics.get(recipe.main_metric)
        if not recipe.metrics:
            self.errors.append("evaluate.metrics: at least one metric is needed")
        elif plug is None:
            self.errors.append(f"evaluate.main: no metric {name!r}{nearest(name, recipe.metrics)}")
        elif not plugin_better(plug.factory):
            self.errors.append(f"evaluate.main: of {name!r} neither more nor less is better")

    def _check_spread(self, recipe: Recipe) -> None:
        spread = recipe.options["mix"].get("spread", 0.0)
        if not isinstance(spread, float):  # which was said before
            return
        try:
            require_spread(spread)
        except ValueError as error:
            self.errors.append(f"mix: {error}")
        if spread and not topic_scorer(recipe):
            self.errors.append(
                "mix.spread: it draws by topic, and no scorer makes topics; add 'semantic_copy: {}'"
            )

    def _check_form(self, recipe: Recipe) -> None:
        if any(error.startswith(("augment", "task")) for error in self.errors):
            return
        if recipe.augment.use != "distill":
            return
        from curation.augmenters.distill import check_form

        said = {k: v for k, v in recipe.augment.options.items() if k in ("form", "shots")}
        task = recipe.task
        try:
            check_form(task, **said)
        except ValueError as error:
            self.errors.append(f"augment.{error}")

    def _check_trackers(self, recipe: Recipe) -> None:
        if any(error.startswith("train") for error in self.errors):
            return
        try:
            require_trackers(recipe.options["train"].get("report_to", ()))
        except ValueError as error:
            self.errors.append(f"train.report_to: {error}")

    def _check_rules(self, recipe: Recipe) -> None:
        from curation.rules import parse_rules

        columns = {"keep": row_columns(recipe), "gate": gate_columns(recipe)}
        for key, rules in (("keep", recipe.keep), ("gate", recipe.gate)):
            for rule in rules:
                try:
                    parse_rules([rule], columns[key])
                except ValueError as error:
                    self.errors.append(f"{key}: {error}")


def row_columns(recipe: Recipe) -> list[str]:
    """Columns a rule of `keep` may speak of."""
    plain = [name for name, kind in ROW_SCHEMA.items() if not kind.is_nested()]
    quantiles = [name + SUFFIX for name, plug in recipe.scorers.items() if not plug.compares]
    return [*plain, *recipe.scores, *quantiles, "label_conflict"]


def ranked_scorers(recipe: Recipe) -> set[str]:
    """Scorers whose quantile a rule asks for."""
    from curation.rules import read_columns

    named = read_columns(recipe.keep, row_columns(recipe))
    return {name for name in recipe.scorers if name + SUFFIX in named}


def topic_scorer(recipe: Recipe) -> str:
    """The first scorer that puts rows into topics to compare them, "" where none does."""
    return next((name for name, plug in recipe.scorers.items() if plug.compares), "")


def gate_columns(recipe: Recipe) -> list[str]:
    """Values a rule of `gate` may speak of: each metric of the candidate and of the other arms."""
    names = [*recipe.metrics, *map(gap_name, recipe.slices)]
    return [*names, *(f"{arm}_{name}" for arm in ARMS for name in names), "leaks", "n_cases"]


def _common_keys(function: Callable[..., Any]) -> set[str]:
    names = inspect.signature(function).parameters.values()
    return {p.name for p in names if p.kind is p.KEYWORD_ONLY} - FROM_STAGE


def _read_yaml(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise RecipeError(path, ["this file does not exist; name a recipe with --recipe FILE"])
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(path, [" ".join(str(error).split())]) from None
    if not isinstance(raw, dict):
        raise RecipeError(path, [f"expected a mapping of sections, got {raw!r}"])
    return raw
