"""What Dagster keeps of a build says the same as the store."""

import os
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from curation.store import Store

STEPS = ("rows", "sources/dirt", "training_set", "adapter", "model_version")


@pytest.fixture(scope="module")
def history(built):
    """The Dagster instance of the built project; its folders are relative to where it is opened."""
    before = os.getcwd()
    os.chdir(built.folder)
    try:
        with dg.DagsterInstance.from_config(str(built.folder)) as instance:
            yield instance
    finally:
        os.chdir(before)


def latest(history, step):
    """The event of the last materialisation of a step."""
    event = history.get_latest_materialization_event(dg.AssetKey(["tiny", *step.split("/")]))
    assert event is not None, step
    return event


@pytest.mark.parametrize("step", STEPS)
def test_the_data_version_in_dagster_is_the_digest_in_the_store(built, history, step):
    head = Store(built.store).head(f"tiny/{step}")
    said = latest(history, step).asset_materialization
    assert head is not None and said.tags["dagster/data_version"] == head.data_version
    assert said.metadata["winnow/version"].value == head.key


def test_the_links_of_a_model_version_find_the_run_that_made_it(built, history):
    head = Store(built.store).head("tiny/model_version")
    event = latest(history, "model_version")
    metadata = event.asset_materialization.metadata
    links = {n: str(v.value) for n, v in metadata.items() if isinstance(v, dg.UrlMetadataValue)}
    assert sorted(links) == ["asset of this version", "runs of this version"]
    assert links["asset of this version"] == "/assets/tiny/model_version"
    (asked,) = parse_qs(urlsplit(links["runs of this version"]).query)["q[]"]
    assert head is not None and asked == f"tag:winnow/model_version=v{head.values['number']}"
    tag, _, value = asked.removeprefix("tag:").partition("=")
    assert history.get_run_by_id(event.run_id).tags[tag] == value
    found = history.get_runs(dg.RunsFilter(tags={tag: value}))
    assert event.run_id in {run.run_id for run in found}


def test_the_recorded_model_version_shows_its_lineage_its_card_and_the_way_to_its_runs(
    built, history
):
    head = Store(built.store).head("tiny/model_version")
    assert head is not None
    metadata = latest(history, "model_version").asset_materialization.metadata
    lineage, card, runs = (metadata[n] for n in ("lineage", "card", "runs of this version"))
    assert isinstance(lineage, dg.JsonMetadataValue) and lineage.value == head.values["lineage"]
    assert head.values["lineage"]["sources"]["seeds"]["direct"] > 0
    assert isinstance(card, dg.MarkdownMetadataValue) and card.value == head.values["card"]
    assert card.value.startswith(f"# tiny v{head.values['number']}\n")
    assert isinstance(runs, dg.UrlMetadataValue) and runs.value == head.values["links"]["runs"]
