"""What a recipe chose: a function, its options, and the files that these name."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from curation.names import sha256_path
from curation.plugins import plugin_compares, plugin_uses, takes_secret
from curation.rows import digest
from curation.sources._files import leads_out


@dataclass(frozen=True)
class Plug:
    """A plug-in chosen by the recipe, with its options checked but not yet used."""

    key: str
    use: str
    factory: Callable[..., Any]
    options: Mapping[str, Any]
    common: Mapping[str, Any] = field(default_factory=dict)  # the part its stage reads (sources)

    @property
    def module(self) -> str:
        return self.factory.__module__

    @property
    def modules(self) -> tuple[str, ...]:
        """Its own file and, of the task `several`, those of the tasks it is made of."""
        folder = self.module.rpartition(".")[0]
        parts = self.options["tasks"].values() if self.use == "several" else ()
        return (self.module, *sorted({f"{folder}.{said['use']}" for said in parts}))

    @property
    def uses(self) -> tuple[str, ...]:
        """Inputs of the graph it reads; a model that its options name stands in for one of them."""
        uses = plugin_uses(self.factory)
        own = bool(self.options.get("model"))
        return tuple(use for use in uses if not (own and use in ("base_model", "reward_model")))

    @property
    def compares(self) -> bool:
        """Whether it is a scorer that compares rows with one another."""
        return plugin_compares(self.factory)

    @property
    def section(self) -> Any:
        """What the recipe said, in a form that a digest can be taken of (paths by name)."""
        said = {k: _said(v) for k, v in self.options.items()}
        return [self.key, self.use, said, dict(self.common)]

    @property
    def takes_secret(self) -> bool:
        """Whether it may ask somebody else for money; such work is done in one place."""
        return takes_secret(self.factory)

    def make(self) -> Any:
        """Call the factory."""
        return self.factory(**self.options)

    def files_digest(self) -> str:
        """Digest of the contents of every file or folder the options name."""
        paths = {k: _path_digest(v) for k, v in self.options.items() if isinstance(v, Path)}
        return digest(paths)

    def files_state(self) -> dict[str, list[int]]:
        """What changes when any of those files is written to, replaced or moved, by path."""
        named = [v for v in self.options.values() if isinstance(v, Path)]
        files = {f for path in named for f in (path, *path.rglob("*"))}
        return {str(file): _state(file) for file in sorted(files) if not file.is_dir()}


def _said(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _path_digest(path: Path) -> Any:
    """What a file, or each file of a folder, holds; what leads out of a folder is not opened."""
    if not path.is_dir():
        return sha256_path(path)
    files = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if not p.is_dir()}
    return {name: leads_out(p, path) or sha256_path(p) for name, p in files.items()}


def _state(file: Path) -> list[int]:
    try:
        said = file.stat()
    except FileNotFoundError:
        return []
    return [said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns, said.st_ctime_ns]
