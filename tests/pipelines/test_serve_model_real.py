"""`winnow serve-model` before a real server: `transformers serve` with a version of the graph."""

import time

import pytest

from assets.recipe import load_recipe
from assets.served import find_probes
from curation.registry import find_version
from curation.served import SERVED, find_answer
from curation.store import Store
from tests.pipelines._model_serving import model_door
from tests.pipelines.conftest import TINY, Project

pytest.importorskip("fastapi", reason="`transformers serve` needs fastapi, a dev dependency")


@pytest.mark.slow
def test_a_version_is_merged_and_answers_through_a_real_server_as_it_was_evaluated(built: Project):
    store = Store(built.store)
    version = find_version(store, "tiny", "v2")
    probe = find_probes(version)[0]
    longest = load_recipe(TINY).evaluate["max_new_tokens"]
    begun = time.time()
    with model_door(built.store, "v2", "--dtype", "float32") as door:
        heard = door.heard.read_text()
        assert "v2: 8 of 8 answers are those of the evaluation" in heard
        assert "loading the merged model anew" in heard
        question = probe.messages[-1]["content"]
        status, headers, said = door.ask(question, max_tokens=longest)
        assert status == 200 and headers["x-winnow-version"] == said["model"] == "v2"
        assert said["choices"][0]["message"]["content"].strip() == probe.answer
        body = {"messages": probe.messages, "max_tokens": longest, "stream": True}
        status, headers, data = door.send("POST", "/v1/chat/completions", body)
        assert status == 200 and data.endswith(b"data: [DONE]\n\n")
        kept = find_answer(store.root / SERVED, headers["x-winnow-id"])
        assert kept and kept.answer.strip() == probe.answer and kept.at > begun
    (folder,) = [path for path in (built.store / "tmp/served").iterdir() if path.is_dir()]
    assert folder.name.startswith("v2-") and (folder / "SHA256SUMS").is_file()
