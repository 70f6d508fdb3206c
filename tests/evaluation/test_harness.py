"""lm-eval on a trained model: its answers are ours, its tasks are files with data beside them."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from evaluation.harness import require_harness, run_harness
from evaluation.predict import generate_answers
from tests.conftest import copy_rows

missing = find_spec("lm_eval") is None
needs_harness = pytest.mark.skipif(missing, reason="lm-eval is not installed (extra lm-eval)")


@pytest.fixture
def tasks(tiny_base: Path, tmp_path: Path) -> list[Path]:
    """A task of answers, a third of which the model gives so, and one of choices."""
    chats = [chat[:1] for chat in copy_rows(12, seed=5)["messages"].to_list()]
    said = generate_answers(chats, base_model=tiny_base, max_new_tokens=8)
    rows = [
        {"say": chat[0]["content"], "right": "错" if n % 3 else answer, "choices": [answer, "错"]}
        for n, (chat, answer) in enumerate(zip(chats, said, strict=True))
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    common = {
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test", "doc_to_text": "{{say}}",
    }  # fmt: skip
    said = {
        "answers": {
            "output_type": "generate_until", "doc_to_target": "{{right}}",
            "generation_kwargs": {"max_gen_toks": 8, "until": ["<end>"]},
            "metric_list": [{"metric": "exact_match"}],
        },
        "choices": {
            "output_type": "multiple_choice", "doc_to_choice": "{{choices}}",
            "doc_to_target": 0, "metric_list": [{"metric": "acc"}],
        },
    }  # fmt: skip
    files = [tmp_path / f"{name}.yaml" for name in said]
    for file in files:
        own = {"task": f"copy_{file.stem}"} | common | said[file.stem]
        file.write_text(yaml.safe_dump(own, allow_unicode=True), encoding="utf-8")
    return files


@needs_harness
@pytest.mark.filterwarnings("ignore")  # what lm-eval itself warns of
def test_it_counts_the_answers_that_we_count(tasks: list[Path], tiny_base: Path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = run_harness(tasks, base_model=tiny_base)
    answers = found["copy_answers"]
    assert answers["n"] == 12 and answers["metrics"]["exact_match"]["value"] == 4 / 12
    assert found["copy_choices"]["metrics"]["acc"]["stderr"] is not None
    assert run_harness(tasks[1:], base_model=tiny_base, limit=3)["copy_choices"]["n"] == 3
    with pytest.raises(ValueError, match="'nowhere.yaml' is no task file"):
        run_harness([Path("nowhere.yaml")], base_model=tiny_base)


@pytest.mark.skipif(not missing, reason="lm-eval is installed")
def test_without_it_the_line_to_install_it_is_said():
    with pytest.raises(ValueError, match=r"pip install 'winnow-sft\[lm-eval\]'"):
        require_harness()
