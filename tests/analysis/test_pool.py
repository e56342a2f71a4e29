"""Processes that last serve every caller, each initialised for it."""

from __future__ import annotations

import os
from functools import partial

import pytest

from analysis import pool


def times(given: int, x: int) -> tuple[int, int]:
    return given * x, os.getpid()


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: 2)


def products(given: int, jobs: int = 8) -> tuple[list[int], set[int]]:
    with pool.workers(jobs, partial, times, given) as each:
        found = list(each(range(jobs)))
    return [product for product, _ in found], {process for _, process in found}


def test_lasting_processes_are_initialised_for_each_caller(two_cores: None) -> None:
    with pool.lasting(8):
        results = [products(3), products(5), products(3)]
    assert [product for product, _ in results] == [
        [given * x for x in range(8)] for given in (3, 5, 3)
    ]
    used = set.union(*(processes for _, processes in results))
    assert len(used) <= 2
    assert os.getpid() not in used


def threads(_: int) -> int:
    import torch

    return torch.get_num_threads()


def test_processes_share_the_cores(two_cores: None) -> None:
    """Each has one thread: more would wait for each other."""
    with pool.workers(8, partial, threads) as each:
        assert set(each(range(8))) == {1}


def test_few_jobs_are_done_here(two_cores: None) -> None:
    with pool.lasting(7):
        assert products(2, 7) == ([2 * x for x in range(7)], {os.getpid()})
        with pool.kept_workers(100, partial, times, 4) as each:
            assert list(each([1])) == [(4, os.getpid())]


def test_an_error_of_a_job_is_the_callers(two_cores: None) -> None:
    with pool.lasting(8), pool.workers(8, partial, times, 1) as each, pytest.raises(TypeError):
        list(each([None] * 8))
