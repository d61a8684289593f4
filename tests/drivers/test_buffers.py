"""A buffer is used again exactly when nobody looks at it any more, whoever looked last."""

import gc
import threading
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.buffers import Buffers

SIZES = (24, 48)
VIEWS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda array: array,
    lambda array: array[1:-1],
    lambda array: array[..., ::-1],
    lambda array: array.reshape(-1),
    lambda array: array.reshape(2, -1)[1].view(np.int8),
    lambda array: np.ascontiguousarray(array),
    lambda array: np.lib.stride_tricks.as_strided(array, (2, 2), (2, 1), writeable=False),
    lambda array: np.asarray(memoryview(array.reshape(-1))),
    lambda array: np.frombuffer(array.reshape(-1), np.uint8),
    lambda array: np.broadcast_to(array, (2, *array.shape)),
)
"""Ways in which a holder may look at a buffer without a copy."""

steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from(SIZES)),
        st.tuples(st.just("look"), st.integers(0, 30), st.sampled_from(range(len(VIEWS)))),
        st.tuples(st.just("drop"), st.integers(0, 30)),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps=steps)
def test_nothing_that_is_looked_at_is_ever_written_by_another(steps: list[tuple]) -> None:
    buffers = Buffers(most=3)
    held: list[tuple[np.ndarray, np.ndarray]] = []  # what a holder looks at, and what it saw first
    taken = 0
    for step in steps:
        if step[0] == "take":
            taken += 1
            array = buffers.empty(step[1] // 8, 8)
            assert array.flags.c_contiguous
            assert array.flags.writeable
            array[:] = taken % 251
            held.append((array, array.copy()))
            del array
        elif held and step[0] == "look":
            seen = VIEWS[step[2]](held[step[1] % len(held)][0])
            if seen.size and seen.ndim <= 3:
                held.append((seen, seen.copy()))
            del seen
        elif held and step[0] == "drop":
            del held[step[1] % len(held)]
        assert all(np.array_equal(seen, first) for seen, first in held)
    assert buffers.allocated <= taken


def test_a_buffer_comes_back_with_the_last_view_of_it_and_not_before() -> None:
    for look in VIEWS:
        buffers = Buffers()
        first = buffers.empty(4, 6)
        place = first.ctypes.data
        view = look(first)
        del first
        other = buffers.empty(4, 6)
        assert other.ctypes.data != place
        assert buffers.allocated == 2
        del view
        assert buffers.empty(4, 6).ctypes.data == place
        assert buffers.allocated == 2


def test_a_copy_holds_nothing() -> None:
    buffers = Buffers()
    source = np.arange(24, dtype=np.uint8).reshape(4, 6)
    copied = buffers.copy(source[:, ::-1])
    np.testing.assert_array_equal(copied, source[:, ::-1])
    kept = copied.copy()
    del copied
    np.testing.assert_array_equal(buffers.copy(source), source)
    np.testing.assert_array_equal(kept, source[:, ::-1])
    assert buffers.allocated == 1


def test_more_free_buffers_than_wanted_are_given_back_to_the_system() -> None:
    buffers = Buffers(most=2)
    held = [buffers.empty(24) for _ in range(5)]
    held.clear()
    held = [buffers.empty(24) for _ in range(5)]
    assert buffers.allocated == 5 + 3


def test_threads_never_share_a_buffer() -> None:
    buffers = Buffers()
    wrong: list[int] = []
    passed: list[np.ndarray] = []

    def work(number: int) -> None:
        for turn in range(300):
            array = buffers.empty(512)
            array[:] = number
            passed.append(array[::2])  # another thread may drop the last view
            if turn % 7 == 0 and len(passed) > 5:
                passed.pop()
            if (array != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all((view == view[0]).all() for view in passed)
    passed.clear()
    gc.collect()
    before = buffers.allocated
    again = [buffers.empty(512) for _ in range(8)]
    assert buffers.allocated == before, again
