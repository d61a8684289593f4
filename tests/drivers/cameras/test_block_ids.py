"""The loss account: what the numbers of a camera's frames say about frames that never came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cameras.genicam.block_ids import INVALID_ID, BlockIds, BlockOrderError


def places(gige: bool, ids: list[int]) -> list[tuple[int, int]]:
    account = BlockIds(gige)
    return [account.place(block_id) for block_id in ids]


def test_a_gap_in_the_block_ids_is_counted_before_the_next_frame() -> None:
    assert places(False, [0, 1, 4, 5]) == [(0, 0), (1, 0), (4, 2), (5, 0)]
    assert places(True, [1, 2, 5, 6]) == [(0, 0), (1, 0), (4, 2), (5, 0)]


def test_exposures_lost_before_the_first_frame_are_counted() -> None:
    assert places(False, [2]) == [(2, 2)]
    assert places(True, [3]) == [(2, 2)]


def test_a_camera_whose_numbers_go_on_from_the_start_before_has_lost_nothing_at_its_first_frame() -> None:
    account = BlockIds(gige=True, goes_on=True)
    assert [account.place(block_id) for block_id in (65534, 65535, 1, 4)] == [(0, 0), (1, 0), (2, 0), (5, 2)]


def test_sixteen_bit_ids_wrap_past_zero() -> None:
    account = BlockIds(gige=True)
    account.place(65533)
    assert [account.place(block_id)[1] for block_id in (65534, 65535, 1, 2)] == [0, 0, 0, 0]
    account = BlockIds(gige=True)
    account.place(65534)
    assert account.place(2)[1] == 2  # 65535 and 1


def test_extended_ids_go_on_past_sixteen_bits() -> None:
    account = BlockIds(gige=True)
    account.place(65535)
    assert account.place(65536)[1] == 0
    assert account.place(70000)[1] == 70000 - 65537


@pytest.mark.parametrize(
    ("gige", "ids"), [(False, [5, 5]), (False, [9, 3]), (True, [5, 5]), (True, [40000, 20000])]
)
def test_ids_that_go_back_show_a_restarted_camera(gige: bool, ids: list[int]) -> None:
    with pytest.raises(BlockOrderError, match=f"from {ids[0]} to {ids[1]}"):
        places(gige, ids)


def test_a_failed_frame_without_an_id_takes_the_place_that_was_due() -> None:
    assert places(False, [0, INVALID_ID, 2]) == [(0, 0), (1, 0), (2, 0)]
    assert places(True, [1, 0, 3]) == [(0, 0), (1, 0), (2, 0)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.booleans(), st.integers(0, 65000))
def test_delivered_and_lost_frames_add_up_to_the_exposures(steps: list[int], gige: bool, start: int) -> None:
    account = BlockIds(gige)
    exposures = start
    account.place(start + 1 if gige else start)
    for step in steps:
        exposures += step
        block_id = exposures % 65535 + 1 if gige else exposures
        frame_id, lost = account.place(block_id)
        assert lost == step - 1
        assert frame_id == exposures
