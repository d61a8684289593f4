"""How long the station waits for a process that may have no time: by the processor time that it uses."""

from __future__ import annotations

from station.spare.patience import LOOK_S, Patience


def looks(patience: Patience, used: list[float], every_s: float = LOOK_S) -> list[str]:
    return [patience.look(every_s * (at + 1), one) for at, one in enumerate(used)]


def test_a_process_that_gets_a_thousandth_of_a_processor_is_waited_for() -> None:
    patience = Patience(silent_s=30.0, at_most_s=10.0, now_s=0.0, used_s=5.0)
    assert set(looks(patience, [5.0 + LOOK_S * at / 1000 for at in range(1, 20_000)])) == {""}


def test_one_that_has_work_and_uses_no_time_hangs() -> None:
    patience = Patience(silent_s=1.0, at_most_s=10.0, now_s=0.0, used_s=5.0)
    said = looks(patience, [5.1, *[5.1] * 10])
    assert said[:5] == [""] * 5
    assert said[-1] == "used no processor time for 1 s: it hangs, or it was stopped"


def test_time_in_which_nobody_looked_does_not_count() -> None:
    patience = Patience(silent_s=1.0, at_most_s=10.0, now_s=0.0, used_s=5.0)
    assert patience.look(1000.0, 5.0) == ""


def test_one_that_uses_more_than_the_work_can_need_goes_round_in_circles() -> None:
    patience = Patience(silent_s=1.0, at_most_s=2.0, now_s=0.0, used_s=5.0)
    assert looks(patience, [6.0, 7.0, 7.5])[1:] == ["", "came to no end within 2 s of processor time"]
