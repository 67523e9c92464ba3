"""Threads that read: torch's own threads are not multiplied, and memory of batches goes round."""

import gc

import numpy as np
import torch

from datasets.buffers import ArrayPool
from datasets.reading_threads import reading_threads


def test_workers_compute_alone_and_the_caller_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with reading_threads(3, computes=True) as pool:
            counts = [pool.submit(torch.get_num_threads) for _ in range(9)]
            assert {count.result() for count in counts} == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_workers_everything_runs_at_once() -> None:
    done = []
    with reading_threads(0, computes=True) as pool:
        future = pool.submit(done.append, 1)
        assert done == [1]
        assert future.done()
        assert isinstance(pool.submit(int, "x").exception(), ValueError)


def test_memory_comes_back_when_nobody_holds_it() -> None:
    pool = ArrayPool()
    first = torch.from_numpy(pool.take((4, 3)))
    place = first.data_ptr()
    row = first[1]
    del first
    gc.collect()
    assert torch.from_numpy(pool.take((4, 3))).data_ptr() != place, "a view still holds it"
    del row
    gc.collect()
    assert pool.take((4, 3)).ctypes.data == place
    assert pool.take((3, 4)).shape == (3, 4)
    assert pool.take((4, 3)).dtype == np.float32
