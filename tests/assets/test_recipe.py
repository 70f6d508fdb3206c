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


CHANGES = {
    "unknown key 'scorer' (did you mean 'scorers'?)": lambda r: r.update(scorer={}),
    "dedup: unknown key 'treshold' (did you mean 'threshold'?)": lambda r: r.update(
        dedup={"treshold": 0.8}
    ),
    "dedup.threshold: expected a number, got 'high'": lambda r: r.update(
        dedup={"threshold": "high"}
    ),
    "scorers.perplexty: no scorer is called 'perplexty' (did you mean 'perplexity'?)": lambda r: r[
        "scorers"
    ].update(perplexty={}),
    "keep: rule 'lenght < 3': unknown column 'lenght' (did you mean 'length'?)": lambda r: r[
        "keep"
    ].append("lenght < 3"),
    "gate: rule 'exact_macth > 0.5': unknown column 'exact_macth' (did you mean 'exact_match'?)": lambda r: (
        r["gate"].append("exact_macth > 0.5")
    ),
    "sources.seeds.path: file 'nowhere.jsonl' does not exist": lambda r: r["sources"][
        "seeds"
    ].update(path="nowhere.jsonl"),
    "augment.api_key: the environment variable OPENAI_API_KEY is not set": lambda r: r.update(
        augment={"use": "llm", "model": "m"}
    ),
    "sources.seeds.track: 'domian' is not known (did you mean 'domain'?)": lambda r: r["sources"][
        "seeds"
    ].update(track="domian"),
    "sources.seeds: unknown key 'pth' (did you mean 'path'?)": lambda r: r["sources"][
        "seeds"
    ].update(pth=1),
    "train: 'base_model' is missing": lambda r: r.update(train={}),
    "name: expected a word": lambda r: r.update(name="my recipe"),
    "sources: at least one source is needed": lambda r: r.update(sources={}),
    "keep: expected a list of rules": lambda r: r.update(keep="length < 3"),
    "scorers: expected a mapping": lambda r: r.update(scorers=["length"]),
    "evaluate: unknown key 'fewshot' (did you mean 'few_shot'?)": lambda r: r["evaluate"].update(
        fewshot=3
    ),
}


@pytest.mark.parametrize("said", CHANGES)
def test_a_mistake_is_one_line_with_the_way_out(tmp_path, said):
    lines = mistakes(write(tmp_path, CHANGES[said]))
    assert any(line.startswith(said) for line in lines), lines


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
