"""Frames out of blocks of lines: whole ones line by line, and never a part of one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drivers.cameras.genicam.blocks import Assembly, Block, joined


def block(number: int, problem: str = "") -> Block:
    return Block(number, np.full((2, 3), number % 251, np.uint8), problem)


@given(st.integers(2, 7), st.sets(st.integers(0, 80)), st.sets(st.integers(0, 80)))
def test_a_frame_is_whole_if_and_only_if_each_of_its_blocks_came_undamaged(
    blocks: int, lost: set[int], damaged: set[int]
) -> None:
    assembly, frames = Assembly(blocks), {}
    for number in range(blocks * 10):
        if number not in lost:
            for frame, came in assembly.add(block(number, "packets" if number in damaged else "")):
                assert frame not in frames
                frames[frame] = joined(came, blocks)
    frames |= {frame: joined(came, blocks) for frame, came in assembly.end()}
    for frame in range(10):
        numbers = set(range(frame * blocks, (frame + 1) * blocks))
        if numbers <= lost:
            assert frame not in frames
            continue
        problem, pixels = frames[frame]
        assert (problem == "") == (not numbers & (lost | damaged))
        if not problem:
            np.testing.assert_array_equal(pixels[::2, 0], [number % 251 for number in sorted(numbers)])
        else:
            assert pixels.size == 0
    assert list(frames) == sorted(frames)
