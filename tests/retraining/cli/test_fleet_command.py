"""A rollout from the commands that people type: it grows by what stations sign, and stops by it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.repository.orders import Order, share_of
from station.fleet.manifest import StationManifest
from station.signing import own_key
from tests.retraining.cli.test_way_back import engine, master, path_of, plant, repository, shipped

if TYPE_CHECKING:
    from tests.retraining.cli.test_way_back import Plant

__all__ = ["engine", "master", "plant", "repository", "shipped"]

STATIONS = [f"line-{number}" for number in range(1, 60)]
"""Of these, 1 in 100 and 1 in 10 are taken by the hash of their names."""


def write(place: Path, station: str, digest: str, **changed: Any) -> None:
    """As the station writes and signs it."""
    at = datetime.now(UTC)
    plain: dict[str, Any] = {
        "station": station, "number": int(at.timestamp()), "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "software_version": "1.0.0", "is_simulated": False, "state": "ready", "reason": "", "recipe": "tiny",
        "product": "tiny", "engine": digest, "version": 1, "engine_state": "good", "model": "c" * 64,
        "installed": (digest,), "candidate": "", "trial": None, "bad": (), "proof": None,
        "parts": {"triggers": 0, "accepted": 0, "rejected": 0, "faulted": 0}, "problems": (), "journal": "j",
        "heads": ({"seq": 7, "digest": "d" * 64},),
    } | changed  # fmt: skip
    key = own_key(place / "station-keys" / f"{station}.pem")
    (place / "stations").mkdir(exist_ok=True)
    (place / "stations" / f"{station}.pub").write_text(key.public.pem())
    (place / "fleet").mkdir(exist_ok=True)
    (place / "fleet" / f"{station}.manifest").write_bytes(StationManifest(**plain).to_bytes(key))


def test_a_rollout_grows_by_what_stations_sign_and_one_bad_engine_halts_it(shipped: Plant) -> None:
    place, few = shipped.place, min(STATIONS, key=share_of)
    tenth = sorted(name for name in STATIONS if share_of(name) < 10)
    assert share_of(few) >= 1, "none of these stations is in the first stage"
    assert tenth
    shipped.done(
        "sign", "new", shipped.director, "--director", "--people", shipped.public("shift"), "--threshold", 1,
        "--online", shipped.public("shift"), *shipped.keys("shift"),
    )  # fmt: skip
    shipped.done(
        "sign", "order", shipped.director, "--repository", shipped.repository, "--product", "tiny",
        "--channel", "canary", "--stations", few, *shipped.keys("shift"),
    )  # fmt: skip
    path = path_of(shipped, "canary")
    digest = Path(path).stem
    for name in STATIONS:
        write(place, name, "factory", version=None, engine_state="factory", installed=())

    places = [
        "--manifests", place / "fleet", "--stations", place / "stations", "--memory", place / "fleet.json"
    ]  # fmt: skip
    advance = ["fleet", "advance", shipped.director, "--product", "tiny", "--channel", "canary", *places]
    advance += shipped.keys("shift")

    def ordered() -> Order:
        found = shipped.found(shipped.director, path)
        assert found is not None
        return Order.of(found.unrecognized_fields["custom"], path)

    assert f"{few}: does not have it yet" in shipped.waits(*advance)
    assert ordered().stations == (few,), "nothing was signed"
    write(place, few, digest, number=int(datetime.now(UTC).timestamp()) + 1)
    assert "10 % of the stations" in shipped.done(*advance), "1 % would take none of them"
    assert ordered().percent == 10
    for number, name in enumerate(tenth):
        write(place, name, digest, number=int(datetime.now(UTC).timestamp()) + 10 + number)
    assert "100 % of the stations" in shipped.done(*advance)
    shown = shipped.done("fleet", "show", *places)
    assert all(f" {name} " in shown for name in STATIONS)
    assert f"tiny {digest[:12]} v1 good" in shown

    why = {"digest": digest, "version": 1, "why": "rejected parts: 25 of 25"}
    last = next(name for name in STATIONS if name not in tenth)
    write(place, last, "factory", bad=(why,), number=int(datetime.now(UTC).timestamp()) + 99)
    said = shipped.waits(*advance)
    assert f"{last}: rejected parts: 25 of 25" in said
    assert "halted: no further station installs it" in said
    assert ordered().halted

    heads = ({"seq": 3, "digest": "e" * 64},)
    write(place, last, "factory", heads=heads, number=int(datetime.now(UTC).timestamp()) + 100)
    assert "ALARM: the journal went back from event 7 to 3" in shipped.waits("fleet", "show", *places)
    anew = ["fleet", "anew", last, "--memory", place / "fleet.json", "--by", "M. Ito", "--why", "new disk"]
    shipped.done(*anew)
    shipped.done("fleet", "show", *places)
    assert "has no alarm" in shipped.refused(*anew)
