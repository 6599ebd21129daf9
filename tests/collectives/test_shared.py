"""The shared-memory path, with threads as ranks: each has an arena of its own, which all of them can reach."""

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from collectives import link, shared
from collectives.arena import Arena
from collectives.errors import MismatchError, StallError
from collectives.memory import empty
from collectives.reduce import Op

from .conftest import CAPACITY

pytest.importorskip("numba")
BF16 = ml_dtypes.bfloat16
SIZES = [1, 2, 3, 4, 5]
# One item; a small array; one window of the boxes; several windows, the last one short.
COUNTS = [1, 13, 1000, 17_003, 600_011]


def values(rank, count, dtype="f4"):
    return np.random.default_rng(rank).normal(0, 1, count).astype(dtype)


def own(rank, count, dtype):
    return ((np.arange(count) * (rank + 3)) % 11).astype(dtype)


def array(kind, rank, data, arena):
    """The data in ordinary memory, in an arena, or in an arena on odd ranks alone."""
    if kind == "ordinary" or (kind == "mixed" and rank % 2 == 0):
        return data.copy()
    out = empty(data.shape, data.dtype, arena)
    out[...] = data
    return out


@pytest.mark.parametrize("kind", ["ordinary", "arena", "mixed"])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("n", SIZES)
def test_mean_is_within_its_bound_and_the_same_bits_however_it_travels(shared_groups, n, count, kind):
    def work(group, arena):
        x = array(kind, group.rank, values(group.rank, count), arena)
        assert group.allreduce_(x) is x
        return x.copy()

    results = shared_groups(n, work)
    assert len({result.tobytes() for result in results}) == 1
    terms = np.stack([values(rank, count) for rank in range(n)])
    exact, u = terms.astype("f8").mean(0), n * 2.0**-24  # n - 1 additions and a division
    assert (np.abs(results[0] - exact) <= u / (1 - u) * np.abs(terms.astype("f8")).sum(0) / n).all()
    in_order = terms[0].copy()
    for term in terms[1:]:
        in_order += term
    assert (results[0] == in_order / np.float32(n)).all()


@pytest.mark.parametrize("dtype", ["f2", BF16, "f8", "i1", "u2", "i4", "u8", "i8"])
def test_dtypes_and_operations(shared_groups, dtype):
    references = {Op.Sum: np.sum, Op.Min: np.min, Op.Max: np.max, Op.Product: np.prod}

    def work(group, arena):
        return {
            (op, count, kind): group.allreduce_(
                array(kind, group.rank, own(group.rank, count, dtype) % 4, arena), op
            ).copy()
            for op in references
            for count in (13, 40_003)
            for kind in ("ordinary", "arena")
        }

    for result in shared_groups(3, work):
        for (op, count, _), found in result.items():
            exact = references[op](np.stack([own(rank, count, dtype) % 4 for rank in range(3)]).astype("f8"), axis=0)
            assert found.dtype == np.dtype(dtype) and (found.astype("f8") == exact).all(), (op, count)


@pytest.mark.parametrize("kind", ["ordinary", "arena"])
@pytest.mark.parametrize("dtype", ["f2", BF16])
def test_sixteen_bit_floats_are_rounded_once(shared_groups, dtype, kind):
    count, n = 20_011, 4

    def work(group, arena):
        x = array(kind, group.rank, values(group.rank, count, dtype), arena)
        return group.allreduce_(x, Op.Sum, prescale=0.5, postscale=3.0).copy()

    total = np.float32(0.5) * values(0, count, dtype).astype("f4")
    for rank in range(1, n):
        total += np.float32(0.5) * values(rank, count, dtype).astype("f4")
    expected = (total * np.float32(3)).astype(dtype)
    for result in shared_groups(n, work):
        assert (result == expected).all()


@pytest.mark.parametrize("dtype", ["f2", BF16, "f4", "f8"])
def test_nan_and_infinity_reach_every_rank(shared_groups, dtype):
    def work(group, arena):
        x = np.full(8, group.rank, dtype)
        if group.rank == 1:
            x[:3] = np.nan, np.inf, -np.inf
        return group.allreduce(x, Op.Min), group.allreduce(x, Op.Max), group.allreduce(x, Op.Sum)

    for least, greatest, total in shared_groups(3, work):
        assert np.isnan(least[0]) and np.isnan(greatest[0]) and np.isnan(total[0])
        assert greatest[1] == total[1] == np.inf and least[2] == total[2] == -np.inf and (total[3:] == 3).all()


@pytest.mark.parametrize("rows", [0, 1, 3, 1000, 70_001])
@pytest.mark.parametrize("n", SIZES)
def test_verbs_that_move(shared_groups, n, rows):
    def work(group, arena):
        me = group.rank
        mine = np.full((rows + me, 3), me, np.int32)
        gathered = group.allgather(mine)
        assert (gathered == np.repeat(np.arange(n), [rows + rank for rank in range(n)])[:, None]).all()
        x = own(me, rows * 2, "f8").reshape(rows, 2)
        total = sum(own(rank, rows * 2, "f8") for rank in range(n)).reshape(rows, 2)
        assert (group.reduce_scatter(x, Op.Sum) == np.array_split(total, n)[me]).all()
        for root in range(n):
            assert (group.broadcast(x, root) == own(root, rows * 2, "f8").reshape(rows, 2)).all()
        assert (group.grouped_allreduce([x, x[:1]], Op.Sum)[0] == total).all()
        assert group.allgather_object("x" * me) == ["x" * rank for rank in range(n)]

    shared_groups(n, work)


def test_strided_and_empty_arrays(shared_groups):
    def work(group, arena):
        wide = empty((200, 300), np.float32, arena)
        wide[...] = group.rank
        group.allreduce_(wide[::2, ::3], Op.Sum)
        assert (wide[::2, ::3] == 3).all() and (wide[1::2] == group.rank).all()
        assert group.allreduce_(empty((0, 3), np.float32, arena)).shape == (0, 3)

    shared_groups(3, work)


def test_calls_in_a_row_do_not_run_into_each_other(shared_groups):
    """Sizes and ways alternate, so that a rank which runs ahead finds slots and boxes that others still read."""

    def work(group, arena):
        rng = np.random.default_rng(5)  # the same on all ranks
        for turn in range(120):
            count, kind = int(rng.integers(1, 40_000)), ["ordinary", "arena", "mixed"][rng.integers(3)]
            x = array(kind, group.rank, np.full(count, group.rank + turn, "f8"), arena)
            group.allreduce_(x, Op.Sum)
            assert (x == 6 + 4 * turn).all(), turn
            if turn % 3 == 0:
                assert (group.broadcast(np.full(count, turn + group.rank), turn % 4) == turn + turn % 4).all()
            if turn % 4 == 0:
                handle = group.allreduce_async(np.full(count, turn), Op.Max)
                assert group.allreduce(np.float64(1), Op.Sum) == 4 and (handle.wait() == turn).all()

    shared_groups(4, work)


@pytest.mark.parametrize("count", [3, 50_000])
@pytest.mark.parametrize("repeated", [False, True])
def test_disagreement_is_found_before_anything_moves(shared_groups, count, repeated):
    def work(group, arena):
        x = np.full(count, float(group.rank))
        before = [group.allreduce_(x.copy(), Op.Sum) for _ in range(3 * repeated)]
        with pytest.raises(MismatchError, match="in op:") as caught:
            group.allreduce_(x, Op.Sum if group.rank != 1 else Op.Max)
        assert (x == group.rank).all() and len(before) == 3 * repeated
        assert (group.allreduce_(x, Op.Sum) == 3).all()
        return str(caught.value)

    assert len(set(shared_groups(3, work))) == 1


@pytest.mark.parametrize("count", [3, 200_000])
def test_a_rank_that_does_not_come_is_named(shared_groups, count):
    def work(group, arena):
        x = np.ones(count)
        group.allreduce_(x)
        if group.rank == 2:
            return
        with pytest.raises(
            StallError, match=r"allreduce float64\[\d+\] op=Average: no answer for 0\.\d s from rank 2"
        ) as e:
            group.allreduce_(x)
        assert e.value.missing == (2,)

    shared_groups(3, work, timeout=0.3, strays=True)


def test_without_room_the_plain_link_is_used(ranks):
    def work(link):
        arena = Arena(CAPACITY if link.rank else 4096)
        assert shared.share(link, arena, [arena] * 2, crowded=True) is link

    ranks(2, work)


@pytest.mark.parametrize("kind", ["ordinary", "arena", "mixed"])
@pytest.mark.parametrize("rows", [1, 4, 1000, 90_001])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_arrays_in_arenas_are_read_where_they_are_and_may_be_overwritten_at_once(shared_groups, n, rows, kind):
    def work(group, arena):
        results = []
        x = array(kind, group.rank, np.zeros((rows, 3), "f4"), arena)
        out = array(kind, group.rank, np.zeros((n * rows, 3), "f4"), arena)
        for turn in range(3):
            x[...] = own(group.rank + turn, 3 * rows, "f4").reshape(rows, 3)
            part = group.reduce_scatter(x, Op.Sum)
            assert (x == own(group.rank + turn, 3 * rows, "f4").reshape(rows, 3)).all()
            x += turn
            gathered = group.allgather(x)
            group.allgather_into(out, x)
            x *= 2
            group.broadcast_(x, root=n - 1)
            results.append((part, gathered, out.copy(), x.copy()))
        return results

    found = shared_groups(n, work)
    for turn in range(3):
        xs = [own(rank + turn, 3 * rows, "f4").reshape(rows, 3) for rank in range(n)]
        sums, together = np.array_split(sum(xs), n), np.concatenate(xs) + turn
        for rank, results in enumerate(found):
            part, gathered, out, last = results[turn]
            assert (part == sums[rank]).all()
            assert (gathered == together).all() and (out == together).all()
            assert (last == 2 * (xs[n - 1] + turn)).all()


@pytest.mark.parametrize("kind", ["ordinary", "arena", "mixed"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_rows_may_be_gathered_from_where_those_of_others_go(shared_groups, n, kind):
    rows = 20_000

    def work(group, arena):
        results = []
        for place in range(n):
            out = array(kind, group.rank, np.zeros((n * rows, 3), "f4"), arena)
            x = out[(group.rank + place) % n * rows :][:rows]
            x[...] = own(group.rank, 3 * rows, "f4").reshape(rows, 3)
            group.barrier()
            results.append(group.allgather_into(out, x).copy())
        return results

    together = np.concatenate([own(rank, 3 * rows, "f4").reshape(rows, 3) for rank in range(n)])
    for results in shared_groups(n, work):
        assert all((out == together).all() for out in results)


def test_compiled_code_knows_the_constants_of_other_files():
    """Else numba would run what it has kept on disk with constants that are no longer true."""
    from collectives import shared_board
    from collectives import shared_kernels as kernels
    from collectives import shared_plan as plan
    from collectives.shared_reducers import CODES, SIGNATURE

    words = [link.HEADERS, link.SEQUENCE, link.CALLS, link.BYTES, link.NANOSECONDS, link.EPOCH, link.STEP, link.SCRATCH]
    found = [plan.DIFFERENT, plan.NOT_YET, plan.DONE, plan.IN_PLACE, plan.LAST_BARRIER, plan.BOXED]
    ways = [plan.STAGED, plan.SMALL, plan.MEDIUM, plan.LARGE]
    compiled_in = Path(shared_board.__file__).read_text()
    layout = f"{words} {found} {ways} {sorted(CODES.values())} {SIGNATURE} {compiled_in}"
    layout = hashlib.sha256(layout.encode()).hexdigest()[:8]
    assert layout == kernels.LAYOUT, f"set LAYOUT in shared_kernels.py to {layout!r}"
