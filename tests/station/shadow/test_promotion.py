"""Which engine shadows next: the newest proven one, each of them once."""

from __future__ import annotations

from functools import reduce

from station.engines.states import Engines, Provenance
from station.shadow.promotion import next_candidate

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


def proven(known: Engines, digest: str, version: int) -> Engines:
    here = known.installed(digest, Provenance("a test"), version=version, by="a test")
    return here.proven(digest, "a test", by="a test")


def shadowing(known: Engines, digest: str) -> Engines:
    return known.shadowing(digest, "a test", by="a test")


def activated(known: Engines, digest: str) -> Engines:
    return known.activated(digest, "a test", by="a test", after_record=0, before="f" * 64)


def test_an_engine_that_is_only_installed_does_not_shadow() -> None:
    known = Engines().installed(ONE, Provenance("a test"), version=1, by="a test")
    assert next_candidate(Engines()) == next_candidate(known) == ""


def test_the_newest_proven_engine_shadows_and_no_second_one_beside_it() -> None:
    known = reduce(
        lambda all_, one: proven(all_, one[0], one[1]), ((ONE, 1), (THREE, 3), (TWO, 2)), Engines()
    )
    assert next_candidate(known) == THREE
    assert next_candidate(shadowing(known, THREE)) == ""


def test_while_an_engine_is_in_trial_nothing_new_shadows() -> None:
    known = activated(proven(Engines(), ONE, 1), ONE)
    later = proven(known, TWO, 2)
    assert next_candidate(later) == ""
    assert next_candidate(later.good("a test", by="a test")) == TWO


def test_what_was_replaced_in_the_shadow_does_not_come_back_by_itself() -> None:
    known = shadowing(proven(proven(Engines(), ONE, 1), TWO, 2), ONE)
    known = shadowing(known, TWO).failed(TWO, "a test", by="a test")
    assert next_candidate(known) == "", "the first one has shadowed already"
    assert next_candidate(known.proven(ONE, "again", by="a person")) == ONE


def test_an_engine_that_is_no_newer_than_the_active_one_does_not_shadow() -> None:
    known = proven(proven(Engines(), ONE, 1), TWO, 2)
    assert next_candidate(activated(known, TWO).good("a test", by="a test")) == ""
