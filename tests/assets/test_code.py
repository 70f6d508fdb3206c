"""The code version: it follows the code that does the work and nothing else."""

from assets import code, curate, ingest, mix
from assets.code import code_version
from assets.recipe import load_recipe
from assets.stage import Stage
from assets.train import adapter
from assets.unique import duplicates
from tests.assets.test_recipe import TINY


def modules_of(function):
    return code._used_names(code.Path(function.__code__.co_filename), function.__name__)[0]


def test_a_stage_follows_the_modules_its_function_uses():
    work = duplicates(load_recipe(TINY)).work
    assert "curation.dedup" in modules_of(work)
    assert "curation.scoring" not in modules_of(work)


def test_helpers_in_the_same_file_count():
    assert "curation.ingest" in modules_of(ingest._made) | modules_of(ingest.rows_stage)
    assert "curation.rules" in modules_of(curate._judge)


def test_helpers_in_another_file_of_glue_count():
    assert "curation.accounts" in modules_of(curate.kept_stage(load_recipe(TINY)).work)
    made_by = modules_of(mix.training_set(load_recipe(TINY)).work)
    assert {"curation.tables", "training.tokens"} <= made_by


def test_what_training_runs_by_name_counts():
    stage = adapter(load_recipe(TINY))
    followed = code.describe_code(stage.work, stage.code)["modules"]
    assert {"training.sft", "training.trainer", "training.methods"} <= followed.keys()


def test_a_constant_counts_where_it_is_used(tmp_path):
    texts = ("MOST = 1\nLEAST = 2\n", "MOST = 1\nLEAST: int = 3\n", "MOST = 2\nLEAST = 2\n")
    dumps = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.py"
        path.write_text(text + "def f(x):\n    return g(x)\ndef g(x):\n    return x < MOST\n")
        dumps.append(code._used_names(path, "f")[1])
    assert dumps[0] == dumps[1] != dumps[2]


def test_a_docstring_does_not_change_the_version(tmp_path):
    with_text, without = tmp_path / "a.py", tmp_path / "b.py"
    with_text.write_text('def f(x):\n    """Words."""\n    return x + 1\n')
    without.write_text('def f(x):\n    """Other words."""\n    # and a comment\n    return x + 1\n')
    dumps = [code._used_names(path, "f")[1] for path in (with_text, without)]
    assert dumps[0] == dumps[1]


def test_a_plugin_named_by_the_recipe_counts():
    work = duplicates(load_recipe(TINY)).work
    assert code_version(work) != code_version(work, ["curation.scorers.length"])


def test_the_recipe_section_is_part_of_the_version():
    work = duplicates(load_recipe(TINY)).work
    versions = {Stage("x", "g", work, section=s).code_version for s in (None, {"threshold": 0.7})}
    assert len(versions) == 2
