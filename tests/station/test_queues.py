import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.queues import BoundedQueue


def test_items_leave_in_the_order_they_came() -> None:
    queue: BoundedQueue[int] = BoundedQueue("numbers", 3)
    for number in range(3):
        assert queue.put(number, 0)
    assert [queue.get(0) for _ in range(3)] == [0, 1, 2]
    assert queue.get(0.01) is None


def test_a_full_queue_sheds_what_is_offered_and_counts_it() -> None:
    queue: BoundedQueue[int] = BoundedQueue("pictures", 1)
    assert queue.offer(1)
    assert not queue.offer(2)
    status = queue.status()
    assert (status.name, status.capacity, status.length, status.highest, status.shed) == (
        "pictures",
        1,
        1,
        1,
        1,
    )


def test_put_waits_for_room_and_gives_up_after_its_time() -> None:
    queue: BoundedQueue[int] = BoundedQueue("frames", 1)
    queue.put(1, 0)
    threading.Timer(0.05, lambda: queue.get(0)).start()
    assert queue.put(2, 2.0)
    started = time.monotonic()
    assert not queue.put(3, 0.05)
    assert time.monotonic() - started >= 0.05
    assert queue.get(0) == 2


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity of at least 1"):
        BoundedQueue("none", 0)


def test_in_a_full_queue_what_gives_way_is_shed_first_whether_it_waits_or_comes() -> None:
    queue: BoundedQueue[str] = BoundedQueue("pictures", 3, gives_way=lambda item: item.startswith("good"))
    for item in ("good 1", "reject 1", "good 2"):
        assert queue.offer(item)
    assert not queue.offer("good 3")
    assert queue.offer("reject 2")
    assert queue.offer("reject 3")
    assert not queue.offer("reject 4"), "nothing that waits gives way"
    assert [queue.get(0) for _ in range(3)] == ["reject 1", "reject 2", "reject 3"]
    assert queue.status().shed == 4


@given(st.integers(1, 4), st.lists(st.one_of(st.none(), st.integers(0, 9))))
def test_nothing_is_lost_uncounted_and_nothing_worthier_is_shed_for_less(
    capacity: int, steps: list[int | None]
) -> None:
    queue: BoundedQueue[int] = BoundedQueue("any", capacity, gives_way=lambda item: item < 5)
    offered, taken = 0, 0
    for step in steps:
        if step is None:
            taken += queue.get(0) is not None
            continue
        before = queue.status()
        was_taken = queue.offer(step)
        offered += 1
        assert was_taken or before.length == capacity
    status = queue.status()
    assert status.length <= status.highest <= capacity
    assert offered == taken + status.length + status.shed
