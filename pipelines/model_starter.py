"""Starting the server of a version: merged, come up, and found to answer as it was evaluated."""

import threading
from collections.abc import Sequence

from assets.recipe import Recipe
from assets.served import find_probes, merged_folder
from curation.progress import Report
from curation.store import Store, Version
from pipelines.model_server import (
    ChildServer,
    ModelServer,
    check_command,
    first_model,
    probe_server,
    wait_ready,
)
from training.probe import Dtype

_MOVING = ("champion", "latest")


class ModelStarter:
    """Starts servers by what `--server` said: one way for all arms, or an address for each.

    Once `stopped` is set, what is being started is given up.
    """

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        servers: Sequence[str],
        *,
        arms: int,
        dtype: Dtype,
        start_s: float,
        report: Report,
    ):
        self.stopped = threading.Event()
        self._store, self._recipe = store, recipe
        self._dtype: Dtype = dtype
        self._start_s, self._report = start_s, report
        self._addresses = [one for one in servers if "://" in one.split(" ")[0]]
        wanted = arms if self._addresses else 1
        if len(servers) != wanted or len(self._addresses) not in (0, arms):
            raise ValueError("--server is given once, or once for each version with an address")
        self._command = "" if self._addresses else check_command(servers[0])

    def check_names(self, names: Sequence[str]) -> None:
        """Raise `ValueError` where a name may come to mean a version that nobody serves."""
        if self._addresses and (moving := [name for name in names if name in _MOVING]):
            raise ValueError(
                f"a server at an address cannot be switched when {moving[0]!r} changes: name the "
                "version that it serves, such as v7"
            )

    def __call__(self, arm: str, version: Version) -> ModelServer:
        """The server of an arm's version, once it gave stored answers again.

        Raises `ChildProcessError` for one that does not come up, `ValueError` for one that answers
        otherwise, and what merging raises; nothing is left running then.
        """
        label = f"v{version.values['number']}"
        probes = find_probes(version)
        server = self._begin(arm, version, label)
        try:
            wait_ready(server, seconds=self._start_s, stopped=self.stopped.is_set)
            longest = self._recipe.evaluate["max_new_tokens"]
            self._report(f"{label}: {probe_server(server, probes, max_tokens=longest)}")
        except BaseException:
            server.stop()
            raise
        return server

    def _begin(self, arm: str, version: Version, label: str) -> ModelServer:
        if self._addresses:
            address = self._addresses["ab".index(arm)]
            return ModelServer(address, first_model(address) or label)
        folder = None
        if "{folder}" in self._command:
            folder = merged_folder(
                self._store, self._recipe, version, dtype=self._dtype, report=self._report
            )
        log = self._store.workdir("served-work") / f"{label}.log"
        self._report(f"{label}: starting its server; what it says is in {log}")
        return ChildServer(self._command, folder=folder, version=label, log=log)
