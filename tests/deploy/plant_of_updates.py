"""A station with an updater, and the two repositories on one server, for tests of attacks and updates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.updater.errors import UpdateError
from deploy.updater.settings import UpdaterSettings, load_settings
from deploy.updater.update import Arrival, Outcome, update
from tests.deploy.tuf_repository import Repository, Server, plant, serving

SETTINGS = """
station: {station}
engines: engines
state: state
images: {{url: "{address}/images", root: images.root.json}}
director: {{url: "{address}/director", root: director.root.json}}
products: [{{product: housing}}]
"""


@dataclass
class Station:
    """The updater of one station; what it installs is written down here."""

    folder: Path
    server: Server
    images: Repository
    director: Repository
    path: str
    """Of the target that the director orders."""
    installed: list[bytes] = field(default_factory=list)
    now: datetime | None = None

    @property
    def settings(self) -> UpdaterSettings:
        return load_settings(self.folder / "updater.yaml")

    def write(self, **changed: str) -> None:
        text = SETTINGS.format(address=self.server.address, station="hall-3")
        for key, value in changed.items():
            text = "\n".join(line for line in text.splitlines() if not line.startswith(f"{key}:"))
            text += f"\n{key}: {value}\n"
        (self.folder / "updater.yaml").write_text(text)

    def update(self, **options: Any) -> list[Outcome]:
        def install(arrival: Arrival) -> str:
            self.installed.append(arrival.file.read_bytes())
            (self.folder / "engines" / "housing.store" / arrival.ordered.digest).mkdir(parents=True)
            return arrival.ordered.digest

        clock = {} if self.now is None else {"clock": lambda: self.now}
        return update(self.settings, install, **clock, **options)

    def is_refused(self, *said: str, **options: Any) -> str:
        """One update, which must end in an error with these words, and change nothing that is installed."""
        before = list(self.installed)
        with pytest.raises(UpdateError) as refused:
            self.update(**options)
        assert self.installed == before
        assert not (self.folder / "state" / "bundle").exists()
        words = str(refused.value)
        for one in said:
            assert one in words, words
        assert self.record()[-1]["what"] == "refused"
        assert self.record()[-1]["said"] == words
        return words

    def look(self) -> None:
        """Refresh what is trusted, while the director has halted the engine."""
        order = self.director.targets.targets[self.path].unrecognized_fields["custom"]
        order["halted"] = True
        self.director.publish()
        assert "no engine for this station" in self.update()[0].words
        order["halted"] = False
        self.director.publish()

    def record(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in (self.folder / "state" / "record.jsonl").read_text().splitlines()
        ]

    def trusted(self, repository: str, role: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state" / repository / f"{role}.json").read_text())
        return found["signed"]


@contextmanager
def station(folder: Path, content: bytes = b"a bundle", **options: Any) -> Iterator[Station]:
    images, director, path = plant(content, **options)
    with serving(images=images, director=director) as server:
        here = Station(folder, server, images, director, path)
        (folder / "images.root.json").write_bytes(images.first_root)
        (folder / "director.root.json").write_bytes(director.first_root)
        here.write()
        yield here
