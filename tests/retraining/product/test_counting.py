"""Parts of one group are no independent proofs: claims count groups, and show both."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from drivers.sorters.interface import Outcome
from retraining.evaluation.proportions import shown
from retraining.product import making
from retraining.product.card import honesty
from retraining.product.counting import count_groups, share_of
from station.outcomes import Judgement

FOUND = Judgement(True, Outcome.REJECT, True)
ESCAPED = Judgement(True, Outcome.ACCEPT, False)
GOOD = Judgement(False, Outcome.ACCEPT, True)
OVERKILL = Judgement(False, Outcome.REJECT, False)


def figures_of(judged: Iterable[tuple[str, Judgement]]) -> making.Tested:
    return making.Tested(count_groups(judged), 1.0, ())


def test_a_group_is_wrong_if_any_of_its_parts_is() -> None:
    judged = [("a", FOUND), ("a", ESCAPED), ("b", FOUND), ("c", GOOD), ("c", OVERKILL), ("c", GOOD)]
    counted = count_groups(judged)
    assert (counted.escapes.parts, counted.escapes.of_parts) == (1, 3)
    assert (counted.escapes.groups, counted.escapes.of_groups) == (1, 2)
    assert (counted.overkill.groups, counted.overkill.of_groups) == (1, 1)
    assert (counted.right.groups, counted.right.of_groups) == (1, 3)
    assert str(counted.escapes).startswith("1 of 3; 1 of 2 groups (50.0%, ")


def test_ten_pictures_of_each_part_claim_no_more_than_one() -> None:
    once = [(f"part{n}", FOUND) for n in range(8)] + [(f"good{n}", GOOD) for n in range(20)]
    one, ten = figures_of(once), figures_of(once * 10)
    assert one.counted.escapes.ends() == ten.counted.escapes.ends()
    claim = honesty(one).split("confidence ")[1].split(". More")[0]
    assert claim in honesty(ten)
    assert "80 defective parts in 8 groups" in honesty(ten)
    assert "a group counts once" in honesty(ten)
    assert "a group counts once" not in honesty(one)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans())))
def test_where_each_part_is_a_group_of_its_own_the_share_is_that_of_parts(
    rows: list[tuple[str, bool]],
) -> None:
    hits = [(f"{group}{number}", hit) for number, (group, hit) in enumerate(rows)]
    assert str(share_of(hits)) == shown(sum(hit for _, hit in rows), len(rows))
    grouped = share_of(rows)
    assert grouped.groups <= grouped.of_groups <= grouped.of_parts
