"""The softmax in clusters against PyTorch's, and what it refuses."""

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cutoffs", [[3], [2, 5, 11]], ids=str)
def test_pytorch_agrees(cutoffs, bias):
    torch = pytest.importorskip("torch")
    mine = nn.AdaptiveLogSoftmaxWithLoss(8, 13, cutoffs, 2.0, bias, dtype=np.float64)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 13, cutoffs, 2.0, bias).double()
    mine.load_state_dict({n: p.detach().numpy() for n, p in theirs.named_parameters()})
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((17, 8)) * 3, rng.integers(0, 13, 17)
    for targets in (labels, np.zeros_like(labels), np.full_like(labels, 12)):
        a, b = rt.from_numpy(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
        mine.zero_grad(), theirs.zero_grad()
        got, want = mine(a, targets), theirs(b, torch.from_numpy(targets))
        np.testing.assert_allclose(got.output.detach().numpy(), want.output.detach().numpy(), rtol=1e-10)
        np.testing.assert_allclose(got.loss.item(), want.loss.item(), rtol=1e-10)
        got.loss.backward(), want.loss.backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)
        for (n, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            if q.grad is None:
                assert p.grad is None, n
            else:
                np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=n)
    t = torch.from_numpy(x)
    every = mine.log_prob(rt.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(every, theirs.log_prob(t).detach().numpy(), rtol=1e-10)
    np.testing.assert_array_equal(mine.predict(rt.from_numpy(x)).numpy(), theirs.predict(t).numpy())
    one = mine(rt.from_numpy(x[0]), 4)
    np.testing.assert_allclose(one.output.item(), every[0, 4], rtol=1e-12)


def test_what_it_refuses():
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 13, [3, 7], 2.0)
    with pytest.raises(ValueError, match=r"a target is no class of 0 \.\. 12"):
        layer(rt.zeros((2, 8)), [1, 13])
    with pytest.raises(ValueError, match=r"wants \(N, 8\) and targets \(N,\); got float32\[2, 7\]"):
        layer(rt.zeros((2, 7)), [1, 2])
    for cutoffs in ([], [3, 3], [0, 2], [13]):
        with pytest.raises(ValueError, match=r"cutoffs rise within 1 \.\. 12"):
            nn.AdaptiveLogSoftmaxWithLoss(8, 13, cutoffs)
    with pytest.raises(ValueError, match=r"div_value=4.0 leaves cluster 1 no features"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 13, [3, 7, 9])
    assert layer(rt.zeros((5, 8), device="meta"), np.zeros(5, np.int64)).output.shape == (5,)
