"""What may become of an engine that came home, as values: states, steps and the rules between them. No I/O.

::

    installed -> proven -> shadowing -> trial -> good
        |          |           |          |
        +----------+-----------+----------+----> bad

*Installed*: its bytes are here, and nothing else is known. *Proven*: it has reproduced its golden parts on
this machine, fast enough. *Shadowing*: it judges beside the active engine, and no cell hears of it. *Trial*:
it judges the parts, and its health is watched. *Good*: its trial ended well. *Bad*: it has failed; it is
never made active again unless a person lets it prove itself anew.

Three roles say which engine does what: *active* judges, *previous* is gone back to, *candidate* shadows. The
engine of the folder ``paths.engines/NAME`` is the *factory* engine: it has no state here and is what remains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from station.engines.interface import EngineError

STARTS_IN_TRIAL = 3
"""The start of a station that finds its engine in trial for this many times goes back."""
STEPS_KEPT = 1000
"""The latest steps that the store itself remembers; the journal has all."""

FACTORY = "factory"
"""What stands for the factory engine where a digest is expected."""


class StoreError(EngineError):
    """The store of engines cannot do what was asked; the message says what to do about it."""


class EngineState(StrEnum):
    """How far the station trusts an engine."""

    INSTALLED = "installed"
    PROVEN = "proven"
    SHADOWING = "shadowing"
    TRIAL = "trial"
    GOOD = "good"
    BAD = "bad"

    @property
    def is_proven(self) -> bool:
        """Whether an engine in this state may judge parts."""
        return self not in (EngineState.INSTALLED, EngineState.BAD)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an engine came from: what the updater has checked."""

    target: str
    """The path of the target in the repository; for a bundle that a person brought, the file's name."""
    image_version: int = 0
    """The version of the image repository's targets; 0 where there was no repository."""
    director_version: int = 0
    """The version of the director's targets."""
    key_ids: tuple[str, ...] = ()
    """The keys that signed it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One engine of the store."""

    digest: str
    """SHA-256 of its ``bundle.json``, hex: names the content."""
    state: EngineState
    at: str
    """UTC, ISO 8601: since when."""
    why: str
    provenance: Provenance
    version: int
    """Its number among the engines of the product; a later one has a higher number."""
    starts: int = 0
    """Starts of the station that found it in trial."""
    after_record: int = 0
    """The journal's last record when it was made active; its trial is about the records after it."""
    before: str = ""
    """SHA-256 of the model that judged before its trial, hex."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to an engine; each becomes an event of the journal's chain."""

    number: int
    """1, 2, 3 ..., without a gap."""
    at: str
    """UTC, ISO 8601."""
    digest: str
    """The engine; ``factory`` for the factory engine."""
    step: str
    """The state that it reached, or ``active`` or ``shadow ended``."""
    why: str
    by: str
    """Who: a person's name, ``station``, ``updater``, a rule."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Everything that the store knows; each change is a new one."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    active: str = FACTORY
    """A digest, or ``factory``."""
    previous: str = FACTORY
    candidate: str = ""
    """A digest; empty where nothing shadows."""
    steps: tuple[Step, ...] = ()
    """The latest, oldest first."""
    in_journal: int = 0
    """The number of the last step that the journal has."""

    @property
    def not_in_journal(self) -> tuple[Step, ...]:
        """The steps that the journal does not have yet."""
        return tuple(step for step in self.steps if step.number > self.in_journal)

    @property
    def last_step(self) -> int:
        """The number of the last step; 0 before the first."""
        return self.steps[-1].number if self.steps else 0

    def in_order(self) -> tuple[str, ...]:
        """The engines that may judge, the first choice first; the factory engine is the last."""
        wanted = dict.fromkeys((self.active, self.previous, FACTORY))
        return tuple(one for one in wanted if one == FACTORY or self.may_judge(one))

    def may_judge(self, digest: str) -> bool:
        """Whether an engine is proven, and not bad."""
        return digest in self.entries and self.entries[digest].state.is_proven

    def entry(self, digest: str) -> Entry:
        """An engine by its digest, or by the first 6 or more digits of it. Raises :class:`StoreError`."""
        found = [one for name, one in self.entries.items() if len(digest) >= 6 and name.startswith(digest)]
        if len(found) != 1:
            many = f"{len(found)} engines begin" if found else "no engine of the store begins"
            raise StoreError(
                f"{many} with {digest!r}: `station engines list` shows them; give 6 digits or more"
            )
        return found[0]

    # ------------------------------------------------------------------ the changes

    def installed(self, digest: str, provenance: Provenance, *, version: int, by: str) -> Engines:
        """A new engine is here. One that was here before stays what it is, also a bad one.

        Raises :class:`StoreError` for an engine that is older than the active one.
        """
        if digest in self.entries:
            return self
        active = self.entries.get(self.active)
        if active is not None and version < active.version:
            raise StoreError(
                f"engine {digest[:12]} has the version {version}, the active one has {active.version}: to go "
                "back, use `station engines rollback`; to use it all the same, ship it under a later version"
            )
        why = f"version {version} from {provenance.target}"
        entry = Entry(digest, EngineState.INSTALLED, _now(), why, provenance, version)
        return replace(self, entries={**self.entries, digest: entry})._step(
            digest, EngineState.INSTALLED, why, by
        )

    def proven(self, digest: str, why: str, *, by: str) -> Engines:
        """It has proved itself on this machine; a bad one too, when a person lets it prove itself again."""
        if self.entry(digest).state in (EngineState.TRIAL, EngineState.GOOD, EngineState.SHADOWING):
            return self._step(digest, EngineState.PROVEN, why, by)
        return self._is(digest, EngineState.PROVEN, why, by)

    def shadowing(self, digest: str, why: str, *, by: str) -> Engines:
        """It judges beside the active engine from now on. Raises :class:`StoreError` if it is not proven."""
        if self.entry(digest).state is not EngineState.PROVEN:
            raise StoreError(_not_proven(self.entry(digest), "shadow"))
        return replace(self._not_shadowing(), candidate=digest)._is(digest, EngineState.SHADOWING, why, by)

    def not_shadowing(self, why: str, *, by: str) -> Engines:
        """Nothing shadows from now on, by a person; what did is proven and nothing more.

        Raises :class:`StoreError` where nothing shadows.
        """
        if not self.candidate:
            raise StoreError("no engine shadows: `station engines list` shows what each of them does")
        return self._not_shadowing()._step(self.candidate, "shadow ended", why, by)

    def activated(self, digest: str, why: str, *, by: str, after_record: int, before: str) -> Engines:
        """It judges the parts from now on, in trial. Raises :class:`StoreError` if it is not proven."""
        if digest == FACTORY:
            found = replace(self, active=FACTORY, previous=FACTORY)
            return found._ended_trial(but="")._step(FACTORY, "active", why, by)
        entry = self.entry(digest)
        if not entry.state.is_proven:
            raise StoreError(_not_proven(entry, "judge parts"))
        if self.active == digest:
            raise StoreError(f"engine {digest[:12]} is active already")
        # Who is in trial has not shown yet that it is worth going back to.
        in_trial = self.active in self.entries and self.entries[self.active].state is EngineState.TRIAL
        previous = self.previous if in_trial else self.active
        found = self._not_shadowing() if self.candidate == digest else self
        changed = replace(entry, starts=0, after_record=after_record, before=before)
        found = replace(
            found, active=digest, previous=previous, entries={**found.entries, digest: changed}
        )._ended_trial(but=digest)
        return found._is(digest, EngineState.TRIAL, why, by)

    def taken_back(self, before: Engines, why: str, *, by: str) -> Engines:
        """An activation did not reach the line: roles and states are those of ``before`` it again.

        An engine that has become bad meanwhile stays bad, and one that came meanwhile stays.
        """
        changed = [
            one
            for name, one in before.entries.items()
            if self.entries[name] != one and self.entries[name].state is not EngineState.BAD
        ]
        back = replace(
            self, active=before.active, previous=before.previous, candidate=before.candidate,
            entries={**self.entries, **{one.digest: one for one in changed}},
        )  # fmt: skip
        for one in changed:
            back = back._step(one.digest, one.state, why, by)
        return back if self.active == before.active else back._step(before.active, "active", why, by)

    def started(self) -> Engines:
        """The station starts: an engine in trial has one start more, and the third one goes back."""
        entry = self.entries.get(self.active)
        if entry is None or entry.state is not EngineState.TRIAL:
            return self
        if entry.starts + 1 >= STARTS_IN_TRIAL:
            return self.rolled_back(f"{STARTS_IN_TRIAL} starts of the station in its trial", by="station")
        return replace(self, entries={**self.entries, entry.digest: replace(entry, starts=entry.starts + 1)})

    def good(self, why: str, *, by: str) -> Engines:
        """The trial of the active engine has ended well."""
        return self._is(self.active, EngineState.GOOD, why, by)

    def failed(self, digest: str, why: str, *, by: str) -> Engines:
        """An engine is bad; if it is active, the one before is active again."""
        if digest == self.active:
            return self.rolled_back(why, by=by)
        found = self if self.candidate != digest else replace(self, candidate="")
        if self.previous == digest:
            found = replace(found, previous=FACTORY)
        return found._is(digest, EngineState.BAD, why, by)

    def rolled_back(self, why: str, *, by: str) -> Engines:
        """The active engine is bad, and the one before it judges again; the factory engine where that is bad.

        Raises :class:`StoreError` where the factory engine is active: nothing is before it.
        """
        if self.active == FACTORY:
            raise StoreError(
                "the factory engine is active, and there is none before it: activate another one "
                "(`station engines list` shows them)"
            )
        bad = self._is(self.active, EngineState.BAD, why, by)
        back = self.previous if bad.may_judge(self.previous) else FACTORY
        return replace(bad, active=back, previous=FACTORY)._step(back, "active", f"rolled back: {why}", by)

    def written(self, number: int) -> Engines:
        """The journal has all steps up to this one."""
        return replace(self, in_journal=max(self.in_journal, number))

    def _is(self, digest: str, state: EngineState, why: str, by: str) -> Engines:
        entry = replace(self.entry(digest), state=state, at=_now(), why=why)
        return replace(self, entries={**self.entries, entry.digest: entry})._step(
            entry.digest, state, why, by
        )

    def _step(self, digest: str, step: str, why: str, by: str) -> Engines:
        # A step that the journal does not have is never forgotten.
        kept = self.steps[-STEPS_KEPT:] if self.in_journal >= self.last_step - STEPS_KEPT else self.steps
        new = Step(self.last_step + 1, _now(), digest, str(step), why, by)
        return replace(self, steps=(*kept, new))

    def _not_shadowing(self) -> Engines:
        """The candidate, if there is one, is proven and nothing more."""
        entry = self.entries.get(self.candidate)
        if entry is None or entry.state is not EngineState.SHADOWING:
            return replace(self, candidate="")
        plain = replace(entry, state=EngineState.PROVEN, at=_now())
        return replace(self, candidate="", entries={**self.entries, entry.digest: plain})

    def _ended_trial(self, *, but: str) -> Engines:
        """No engine but the active one is in trial; one that was is proven and nothing more."""
        entries = {
            name: replace(one, state=EngineState.PROVEN, at=_now())
            if one.state is EngineState.TRIAL and name != but
            else one
            for name, one in self.entries.items()
        }
        return replace(self, entries=entries)


def _not_proven(entry: Entry, what: str) -> str:
    short = entry.digest[:12]
    if entry.state is EngineState.BAD:
        return (
            f"engine {short} is bad ({entry.why}) and may not {what}; if you want it all the same, let it "
            f"prove itself again: `station engines prove {short}`"
        )
    return f"engine {short} is {entry.state} and may not {what}: `station engines prove {short}` first"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
