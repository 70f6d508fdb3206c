"""A model folder brings weights and words, never code: no pickle is opened, no module imported."""

import ast
import contextlib
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from curation.chat import load_text_tokenizer, load_tokenizer
from curation.models import load_causal_lm, load_guard_model, load_reward_model
from curation.rows import dialogue, make_row, rows_frame
from tests.conftest import copy_rows
from tests.training.test_sft import OPTIONS, _kill_after_first_checkpoint
from training.base import load_base
from training.profiles import take_profile
from training.reward import _load_classifier
from training.sft import train_sft
from training.tokens import tokenise_rows

ROOT = Path(__file__).parents[2]
SHIPPED = ("assets", "benchmarks", "curation", "evaluation", "pipelines", "training")
PICKLES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib")
CODE = ("eval", "exec", "compile", "__import__", "read_pickle", "to_pickle")
COMPILES = "assets/code.py"
"""Compiles our own modules, to tell one version of them from another; it runs nothing."""
PEERS = "benchmarks/peers/"
"""Each runs in an environment of its own with the model its authors ship, never on a user's."""


class Plant:
    """Unpickled, it writes the file; so a file that is there says that a pickle was opened."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """(place, call, name of what is called) for every call in what is shipped."""
    for path in sorted(p for package in SHIPPED for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node, name


def keyword(call: ast.Call, name: str) -> Any:
    """The constant given for a keyword; None when it is not given as one."""
    value = next((k.value for k in call.keywords if k.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def test_nothing_shipped_imports_a_pickler():
    for path in sorted(p for package in SHIPPED for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.partition(".")[0] in PICKLES], path


def test_nothing_shipped_calls_what_can_run_data():
    for place, call, name in calls():
        last = name.rpartition(".")[2]
        compiles_ours = name == "compile" and place.startswith(f"{COMPILES}:")
        assert (name not in CODE or compiles_ours) and last not in ("read_pickle", "to_pickle"), (
            place
        )
        if name.endswith("torch.load"):
            assert keyword(call, "weights_only") is True, place
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") in (None, False), place
        if last == "load" and name.startswith("yaml"):
            assert "Loader" in {k.arg for k in call.keywords}, place
        assert keyword(call, "shell") is None, place


def test_every_model_is_loaded_without_its_code_and_from_safetensors_alone():
    loads = [(place, c, n) for place, c, n in calls() if n.endswith("from_pretrained")]
    loads = [load for load in loads if not load[0].startswith(PEERS)]
    assert len(loads) >= 5
    for place, call, name in loads:
        if name.startswith("PeftModel"):  # has no such options; what is done instead: see below
            assert place.startswith("curation/models.py:"), place
            continue
        if name.startswith("PeftConfig"):  # a JSON file
            continue
        assert keyword(call, "trust_remote_code") is False, place
        if "Tokenizer" not in name and "Config" not in name:
            assert keyword(call, "use_safetensors") is True, place


LOADERS = {
    "causal": load_causal_lm,
    "reward": load_reward_model,
    "guard": load_guard_model,
    "classifier": lambda m: _load_classifier(m, load_tokenizer(m), revision=""),
    "base": lambda m: load_base(m, revision="", method="lora", profile=take_profile()),
}


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    """A base model of one's own to spoil."""
    return Path(shutil.copytree(tiny_base, tmp_path / "model"))


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_weights_in_a_pickle_are_not_opened(base: Path, tmp_path: Path, load: Any) -> None:
    (base / "model.safetensors").unlink()
    torch.save({"weights": Plant(tmp_path / "ran")}, base / "pytorch_model.bin")
    with pytest.raises(OSError, match="model.safetensors"):
        load(base)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """An adapter that can be loaded."""
    from peft import LoraConfig, get_peft_model

    options = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    get_peft_model(load_causal_lm(base), options).save_pretrained(str(tmp_path / "adapter"))
    load_causal_lm(base, adapter=tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("honest", [False, True], ids=["plant", "weights"])
def test_an_adapter_in_a_pickle_is_not_opened(
    base: Path, adapter: Path, tmp_path: Path, honest: bool
) -> None:
    """Nor is an honest one, which peft would take: it is not opened, rather than not believed."""
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    said = weights if honest else {"weights": Plant(tmp_path / "ran")}
    torch.save(said, adapter / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match="no adapter_model.safetensors") as refused:
        load_causal_lm(base, adapter=adapter)
    assert "\n" not in str(refused.value) and not (tmp_path / "ran").exists()


def test_the_plant_would_have_been_seen(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Plant(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def edit(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("known", [True, False], ids=["known kind", "unknown kind"])
@pytest.mark.parametrize(
    "load",
    [*LOADERS.values(), load_tokenizer, load_text_tokenizer],
    ids=[*LOADERS, "tokenizer", "text tokenizer"],
)
def test_code_of_a_model_folder_never_runs(
    base: Path, tmp_path: Path, load: Any, known: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    (base / "mine.py").write_text(code + "class Mine: pass\n")
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    kind = {} if known else {"model_type": "mine", "architectures": ["Mine"]}
    edit(base / "config.json", auto_map=dict.fromkeys(classes, "mine.Mine"), **kind)
    tokenizer = {} if known else {"tokenizer_class": "Mine"}
    mapped = {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}
    edit(base / "tokenizer_config.json", auto_map=mapped, **tokenizer)
    # A kind that only its own code knows cannot be loaded, which is right.
    with contextlib.suppress(ValueError, OSError, AttributeError):
        load(base)
    assert not (tmp_path / "ran").exists()
    assert "Do you wish to run" not in capfd.readouterr().out


def test_a_chat_template_reaches_nothing_outside_itself(base: Path, tmp_path: Path) -> None:
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% generation %}x{% endgeneration %}"
    (base / "chat_template.jinja").write_text(attack)
    rows = rows_frame([make_row(dialogue("一", "二"))])
    assert tokenise_rows(rows, load_tokenizer(base))["reason"].to_list() == ["template_error"]


def test_a_pickle_planted_in_a_checkpoint_is_not_run(tiny_base: Path, tmp_path: Path) -> None:
    """A run goes on from its own work folder alone, and reads even that as weights only."""
    rows = copy_rows(80, seed=1)
    rows.write_parquet(tmp_path / "rows.parquet")
    _kill_after_first_checkpoint(tiny_base, tmp_path)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        out = Path(shutil.copytree(tmp_path / "run", tmp_path / name))
        for planted in out.glob(f"checkpoints/checkpoint-*/{name}"):
            torch.save({"state": Plant(tmp_path / "ran")}, planted)
        with pytest.raises(pickle.UnpicklingError, match="Weights only"):
            train_sft(rows, base_model=tiny_base, out=out, **OPTIONS)
        assert not (tmp_path / "ran").exists()
    out = tmp_path / "run"
    for folder in out.glob("checkpoints/checkpoint-*"):
        torch.save(Plant(tmp_path / "ran"), folder / "training_args.bin")  # written, never read
    assert train_sft(rows, base_model=tiny_base, out=out, **OPTIONS)["resumed_at"] > 0
    assert not (tmp_path / "ran").exists()
