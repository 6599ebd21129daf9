"""An allreduce in place that is made again, through shared memory: with threads as ranks."""

import numpy as np
import pytest

from collectives import reductions
from collectives.errors import CollectiveError, StallError
from collectives.memory import empty
from collectives.reduce import Op

pytest.importorskip("numba")


def test_a_call_made_again_goes_by_the_array_and_not_by_what_was_seen_before(shared_groups):
    """Views that begin elsewhere, strided ones, other memory of the same shape: all after the first was kept."""

    def work(group, arena):
        block = empty((7, 40), "f4", arena)
        block[...] = np.arange(280).reshape(7, 40) + group.rank
        strided = np.zeros((40, 2), "f4")
        strided[:, 0] = group.rank
        for x in (block[0], block[3], block[6], strided[:, 0], np.full(40, 5.0 + group.rank, "f4"), block[3]):
            group.allreduce_(x, Op.Sum)
        return block, strided

    n = 3
    for block, strided in shared_groups(n, work):
        expected = np.arange(280).reshape(7, 40)
        sums = {0: 3 * expected[0] + 3, 3: 9 * expected[3] + 9, 6: 3 * expected[6] + 3}
        for row, values in sums.items():
            assert (block[row] == values).all()
        assert (strided == [[3, 0]] * 40).all()


@pytest.mark.parametrize("count", [3, 5_000, 700_001])
def test_calls_made_again_are_numbered_and_counted_like_others(shared_groups, count):
    def work(group, arena):
        for x in (empty(count, "f4", arena), np.zeros(count, "f4")):
            for turn in range(4):
                x[...] = turn + group.rank
                group.allreduce_(x, Op.Max)
                assert (x == turn + 2).all()
        stats = group.stats()["allreduce"]
        assert (stats.calls, stats.bytes) == (8, 8 * 4 * count) and stats.seconds > 0
        assert group._agreement.sequence == 8 == group._link.headers
        group.barrier()

    shared_groups(3, work)


def test_read_only_arrays_are_refused_however_often_their_kind_was_seen(shared_groups):
    def work(group, arena):
        x = np.ones(5, "f4")
        for _ in range(3):
            group.allreduce_(x, Op.Sum)
        x.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            group.allreduce_(x, Op.Sum)
        group.barrier()

    shared_groups(2, work)


def test_kinds_of_calls_are_kept_up_to_a_bound(shared_groups, monkeypatch):
    monkeypatch.setattr(reductions, "REMEMBERED", 4)

    def work(group, arena):
        x = np.empty(3, "f4")
        for turn in range(30):
            x[...] = 4
            assert (group.allreduce_(x, prescale=turn // 2) == turn // 2 * 4).all()
            assert len(group._repeats) <= 4

    shared_groups(2, work)


def test_a_scale_may_be_an_array_of_one_number(shared_groups):
    def work(group, arena):
        x = np.full(3, 4, "f4")
        for scale in (np.array(0.5), np.float32(0.5)):
            group.allreduce_(x, postscale=scale)
        return x

    for x in shared_groups(2, work):
        assert (x == 1).all()


def test_what_interrupts_a_call_made_again_ends_the_group_as_it_does_the_first_time(shared_groups):
    """A signal's exception comes when compiled code returns: it may have arrived at a barrier, and gone no further."""

    def work(group, arena):
        x = np.zeros(3, "f4")
        group.allreduce_(x)
        if group.rank == 0:
            (known,) = group._repeats.values()
            kernel = known.kernel

            def interrupted(*args):
                kernel(*args)
                raise TimeoutError("late")

            known.kernel = interrupted
            with pytest.raises(TimeoutError, match="late"):
                group.allreduce_(x)
            with pytest.raises(CollectiveError, match=r"any more: allreduce float32\[3\].*TimeoutError: late"):
                group.allreduce_(x)

    shared_groups(2, work)


def test_a_thread_that_waits_while_a_group_fails_does_not_go_on(shared_groups):
    def work(group, arena):
        x = np.zeros(3, "f4")
        group.allreduce_(x)
        begun = group._agreement.sequence

        class Turn:
            def acquire(self):
                group._fail("meanwhile", StallError("meanwhile"))

            def release(self):
                pass

        group._progress.turn = Turn()
        with pytest.raises(CollectiveError, match=r"allreduce float32\[3\].* cannot communicate any more: meanwhile"):
            group.allreduce_(x)
        assert group._agreement.sequence == begun

    shared_groups(2, work)
