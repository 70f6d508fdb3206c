"""The recipe: every mistake is found before any work and said in one line."""

from pathlib import Path

import pytest
import yaml

from assets.recipe import RecipeError, load_recipe
from pipelines.paths import DEFAULT_RECIPE

TINY = Path(__file__).parents[1] / "tiny" / "tiny.yaml"


def write(tmp_path, change=None, text=None):
    """The tiny recipe with a change, beside its data."""
    raw = yaml.safe_load(TINY.read_text())
    recipes = DEFAULT_RECIPE.parent / "in_car"
    for source in raw["sources"].values():
        source["path"] = str((TINY.parent / source["path"]).resolve())
    assert recipes.is_dir()
    if change:
        change(raw)
    path = tmp_path / "recipe.yaml"
    path.write_text(text or yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    return path


def mistakes(path):
    with pytest.raises(RecipeError) as error:
        load_recipe(path, environment={})
    assert all("\n" not in line for line in error.value.lines)
    return error.value.lines


def test_the_shipped_recipe_is_good():
    assert load_recipe(DEFAULT_RECIPE).name == "in_car"


def test_the_digest_follows_what_the_recipe_says_and_not_its_comments(tmp_path):
    path = write(tmp_path)
    before = load_recipe(path).digest
    path.write_text("# a comment\n" + path.read_text())
    assert load_recipe(path).digest == before
    path.write_text(path.read_text().replace("length <= 400", "length <= 401"))
    assert load_recipe(path).digest != before


def test_the_engine_is_no_part_of_what_a_recipe_makes(tmp_path):
    here = load_recipe(write(tmp_path))
    there = load_recipe(write(tmp_path, change("", engine={"use": "ray", "address": "host:6379"})))
    assert there.digest == here.digest and "host" not in there.text
    assert (here.engine_plug.use, there.engine_plug.use) == ("local", "ray")


def test_trackers_are_no_part_of_what_a_recipe_makes(tmp_path, monkeypatch):
    (tmp_path / "trackio.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    silent = load_recipe(write(tmp_path))
    told = load_recipe(write(tmp_path, change("train", report_to=["trackio"])))
    assert told.options["train"]["report_to"] == ["trackio"]
    assert told.digest == silent.digest and told.text == silent.text
    assert told.sections("train") == silent.sections("train") != silent.sections("mix")


def test_a_tracker_that_is_unknown_or_not_installed_is_said(tmp_path, monkeypatch):
    (line,) = mistakes(write(tmp_path, change("train", report_to=["tensorbord"])))
    assert line.startswith("train.report_to: 'tensorbord' is not known") and "tensorboard" in line
    monkeypatch.setattr("sys.path", [])
    (line,) = mistakes(write(tmp_path, change("train", report_to=["swanlab"])))
    assert line == "train.report_to: swanlab is not installed: pip install 'swanlab<0.8'"


def change(section, **items):
    """A change of one section (the whole recipe when it is "")."""
    return lambda raw: (raw[section] if section else raw).update(items)


def add_rule(section, rule):
    return lambda raw: raw[section].append(rule)


CHANGES = [
    ("unknown key 'scorer' (did you mean 'scorers'?)", change("", scorer={})),
    (
        "dedup: unknown key 'treshold' (did you mean 'threshold'?)",
        change("", dedup={"treshold": 0.8}),
    ),
    ("dedup.threshold: expected a number, got 'high'", change("", dedup={"threshold": "high"})),
    (
        "scorers.perplexty: no scorer is called 'perplexty' (did you mean 'perplexity'?)",
        change("scorers", perplexty={}),
    ),
    (
        "keep: rule 'lenght < 3': unknown column 'lenght' (did you mean 'length'?)",
        add_rule("keep", "lenght < 3"),
    ),
    (
        "gate: rule 'exact_macth > 0': unknown column 'exact_macth' (did you mean 'exact_match'?)",
        add_rule("gate", "exact_macth > 0"),
    ),
    (
        "sources.seeds.path: file 'nowhere.jsonl' does not exist",
        lambda raw: raw["sources"]["seeds"].update(path="nowhere.jsonl"),
    ),
    (
        "augment.api_key: the environment variable OPENAI_API_KEY is not set",
        change("", augment={"use": "llm", "model": "m"}),
    ),
    (
        "sources.seeds.track: 'domian' is not known (did you mean 'domain'?)",
        lambda raw: raw["sources"]["seeds"].update(track="domian"),
    ),
    (
        "sources.seeds: unknown key 'pth' (did you mean 'path'?)",
        lambda raw: raw["sources"]["seeds"].update(pth=1),
    ),
    (
        "sources.seeds: unknown key 'tracks' (did you mean 'track'?)",
        lambda raw: raw["sources"]["seeds"].update(tracks="domain"),
    ),
    ("train: 'base_model' is missing", change("", train={})),
    ("engine: no engine is called 'rya' (did you mean 'ray'?)", change("", engine={"use": "rya"})),
    (
        "engine: unknown key 'adress' (did you mean 'address'?)",
        change("", engine={"use": "ray", "adress": "auto"}),
    ),
    ("name: expected a word", change("", name="my recipe")),
    ("sources: at least one source is needed", change("", sources={})),
    ("keep: expected a list of rules", change("", keep="length < 3")),
    ("scorers: expected a mapping", change("", scorers=["length"])),
    (
        "evaluate: unknown key 'fewshot' (did you mean 'few_shot'?)",
        change("evaluate", fewshot=3),
    ),
    ("evaluate.min_cases: expected a whole number, got -1", change("evaluate", min_cases=-1)),
    ("evaluate.metrics: at least one metric is needed", change("evaluate", metrics=[])),
    (
        "evaluate.main: no metric 'exactmatch' (did you mean 'exact_match'?)",
        change("evaluate", main="exactmatch"),
    ),
    (
        "evaluate.main: of 'length_ratio' neither more nor less is better",
        change("evaluate", metrics=["length_ratio", "slot_f1"]),
    ),
]


@pytest.mark.parametrize(("said", "spoil"), CHANGES, ids=[said for said, _ in CHANGES])
def test_a_mistake_is_one_line_with_the_way_out(tmp_path, said, spoil):
    lines = mistakes(write(tmp_path, spoil))
    assert any(line.startswith(said) for line in lines), lines


def test_rows_with_reasoning_are_refused_for_json(tmp_path):
    distilled = {"use": "distill", "model": "m", "form": "reasoned"}
    recipe = write(tmp_path, change("", augment=distilled))
    with pytest.raises(RecipeError, match=r"augment\.form: 'reasoned' puts prose before"):
        load_recipe(recipe, environment={"OPENAI_API_KEY": "none"})
    recipe = write(tmp_path, change("", augment=distilled | {"form": "few_shot", "shots": 0}))
    with pytest.raises(RecipeError, match=r"augment\.shots: 0 is too few"):
        load_recipe(recipe, environment={"OPENAI_API_KEY": "none"})


def test_all_mistakes_are_said_at_once(tmp_path):
    def spoil(raw):
        raw.update(dedup={"treshold": 1}, scorer={})
        raw["keep"].append("no_such > 1")

    assert len(mistakes(write(tmp_path, spoil))) == 3


def test_broken_yaml_is_one_line_with_its_place(tmp_path):
    (line,) = mistakes(write(tmp_path, text="name: x\n  sources: ]"))
    assert "line 2" in line


def test_a_key_that_stands_twice_is_a_mistake(tmp_path):
    (line,) = mistakes(write(tmp_path, text="name: x\nname: y\n"))
    assert "'name' stands twice" in line


def test_a_missing_recipe_is_said():
    assert "does not exist" in mistakes(Path("no_such.yaml"))[0]
