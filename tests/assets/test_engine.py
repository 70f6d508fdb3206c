"""The engine is no part of a result: Ray on two nodes makes what this process makes."""

import os
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from curation.engines._base import HERE
from curation.engines.ray import RayEngine
from curation.store import Store
from tests.assets._counting import rows_signed
from tests.assets._project import SEEDS, Project, require_books, require_same, talk


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray of two nodes with a processor each, of which nothing stays behind."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    head = node | {"include_dashboard": False}
    before = {process.pid for process in psutil.process_iter()}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(**node)
    try:
        yield nodes.address
    finally:
        ray.shutdown()
        nodes.shutdown()
    new = [process for process in psutil.process_iter(["cmdline"]) if process.pid not in before]
    assert not [p for p in new if "/ray/" in " ".join(p.info["cmdline"] or ())]


@pytest.fixture(scope="module")
def engine(cluster: str) -> RayEngine:
    return RayEngine(cluster, 1)


def test_two_nodes_make_what_this_process_makes(cluster, tiny_base, tmp_path):
    scorers = {name: {} for name in ("length", "perplexity", "repetition", "special_tokens")}
    keep = ["length <= 100", "perplexity_q < 0.99", "not special_tokens", "not label_conflict"]
    ray = {"use": "ray", "address": cluster, "from_rows": 1}
    project = Project(tmp_path, tiny_base, scorers=scorers, keep=keep, engine=ray)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", [*talk(300, start=9000), *_long(120), *_long(80, gone=1)])
    with rows_signed() as signed:
        built = project.build()
    assert sum(signed) == 0, "no row was signed in this process"
    assert built.counted["signatures"] > 400 and built.counted["perplexity"] > 300
    merged = project.head("duplicates").table("pairs")
    assert (merged["kind"] == "near").sum() > 50
    assert "engine" not in project.head("rows").manifest["how"]["recipe_text"]
    require_books(project.head("training_set"))

    project.change(engine={"use": "local"})
    assert all(project.build().recalled.values()), "what Ray made is recalled without it"
    fresh = Store(tmp_path / "fresh")
    with rows_signed() as signed:
        project.build(store=fresh)
    assert sum(signed) > 400
    require_same(project, fresh)
    for name in (f"facts/{scorer}" for scorer in scorers):
        ours, theirs = project.head(name), project.head(name, store=fresh)
        assert ours.data_version == theirs.data_version


def test_parts_go_to_both_nodes_and_come_back_in_order(engine):
    import ray

    def where(part: int) -> tuple[int, str]:
        time.sleep(0.05)
        return part, ray.get_runtime_context().get_node_id()

    nodes, seen = {node["NodeID"] for node in ray.nodes()}, set()
    for place, (part, node) in enumerate(engine.map(where, range(2_000))):
        assert part == place
        seen.add(node)
        if seen == nodes and place >= 40:  # a busy machine takes long to start a node's worker
            break
    assert seen == nodes and len(nodes) == 2


def test_a_function_is_loaded_once_in_each_process(engine):
    loaded: list[int] = []

    def work(part: int) -> tuple[int, int]:
        loaded.append(part)
        return os.getpid(), len(loaded)

    came = list(engine.map(work, range(20)))
    most = {pid: max(n for other, n in came if other == pid) for pid, _ in came}
    assert sum(most.values()) == 20 and len(most) <= 4
    assert os.getpid() not in most and not loaded


def test_pieces_are_exchanged_as_they_are_here(engine):
    def split(part: list[int]) -> list[list[int]]:
        return [[n for n in part if n % 3 == rest] for rest in range(3)]

    def join(pieces: list[list[int]]) -> list[int]:
        return [n for piece in pieces for n in piece]

    parts = [[*range(start, start + 5)] for start in range(0, 40, 5)]
    there = list(engine.exchange(split, parts, join, 3))
    assert there == list(HERE.exchange(split, parts, join, 3))
    assert there[1] == [*range(1, 40, 3)]


def test_what_a_part_raises_is_raised_here(engine):
    def fail(part: int) -> int:
        if part == 2:
            raise ValueError("第 2 行: no answer")
        return part

    came = []
    with pytest.raises(ValueError, match=r"^第 2 行: no answer$"):
        for result in engine.map(fail, range(9)):
            came.append(result)
    assert came == [0, 1]


def test_a_process_that_dies_is_one_line(engine):
    def die(_: int) -> None:
        os._exit(1)

    with pytest.raises(OSError, match=r"^engine 'ray' lost a task .*run again$"):
        list(engine.map(die, range(2)))


def test_no_ray_at_an_address_is_one_line():
    # In a process of its own: one that is connected stays so.
    code = "from curation.engines.ray import ray; ray(address='127.0.0.1:1').workers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("OSError: engine 'ray' finds no Ray at '127.0.0.1:1': ")


def _long(n: int, *, gone: int = 0) -> list[dict[str, str]]:
    """General rows long enough to be near one another, so many of their first characters gone."""
    pairs = zip(talk(n), talk(n, start=5000), strict=True)
    said = [(a["prompt"] + b["prompt"], a["answer"] + b["answer"]) for a, b in pairs]
    return [{"prompt": prompt[gone:], "answer": answer} for prompt, answer in said]
