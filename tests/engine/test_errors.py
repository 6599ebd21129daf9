"""What went wrong, with which shapes, and what to do: tests that read the messages."""

import numpy as np
import pytest

import ringtrain as rt


def f32(*shape):
    return rt.zeros(shape)


MISTAKES = [
    (lambda: f32(2, 3) + f32(4), ValueError, r"add: .*float32\[2, 3\], float32\[4\]"),
    (lambda: f32(2, 3) * np.ones((2, 2)), ValueError, r"multiply: .*float32\[2, 3\], float64\[2, 2\]"),
    (lambda: f32(2) + "a", TypeError, r"add: .*float32\[2\], str"),
    (lambda: rt.where(f32(2) > 0, f32(3), f32(2)), ValueError, r"where: .*bool\[2\], float32\[3\]"),
    (lambda: rt.matmul(f32(2, 3), f32(4, 5)), ValueError, r"matmul: .*float32\[2, 3\], float32\[4, 5\]"),
    (lambda: f32(2) @ f32(3), ValueError, r"matmul: "),
    (lambda: rt.matmul(f32(), f32(3)), ValueError, r"matmul wants at least one axis.*\(\) and \(3,\)"),
    (lambda: rt.reshape(f32(2, 3), (4, -1)), ValueError, r"reshape: .*float32\[2, 3\]"),
    (lambda: rt.transpose(f32(2, 3), (0, 0)), ValueError, r"transpose: axes \(0, 0\).*\(2, 3\)"),
    (lambda: rt.transpose(f32(2, 3), (0, 3)), ValueError, r"transpose: axis 3 does not exist in a tensor of 2 axes"),
    (lambda: rt.swapaxes(f32(2, 3), 0, 2), ValueError, r"swapaxes: axis 2 does not exist"),
    (lambda: rt.moveaxis(f32(2, 3), 4, 0), ValueError, r"moveaxis: axis 4 does not exist"),
    (lambda: rt.expand_dims(f32(2), 3), ValueError, r"expand_dims: axis 3 does not exist"),
    (lambda: rt.squeeze(f32(2, 1), 2), ValueError, r"squeeze: axis 2 does not exist"),
    (lambda: rt.squeeze(f32(2, 1), 0), ValueError, r"squeeze: axis 0 of \(2, 1\) has length 2"),
    (lambda: rt.flatten(f32(2, 1), 2), ValueError, r"flatten: axis 2 does not exist"),
    (lambda: rt.flatten(f32(2, 1, 3), 2, 1), ValueError, r"flatten: start_axis 2 comes after end_axis 1"),
    (lambda: rt.concatenate([f32(2, 3), f32(3, 3)], 1), ValueError, r"concatenate along axis 1.*\(2, 3\), \(3, 3\)"),
    (lambda: rt.concatenate([f32(2), f32(2)], 1), ValueError, r"concatenate: axis 1 does not exist"),
    (lambda: rt.concatenate([]), ValueError, r"concatenate needs at least one"),
    (lambda: rt.concatenate([f32(), f32()]), ValueError, r"concatenate: axis 0 does not exist in a tensor of 0 axes"),
    (lambda: rt.stack([f32(2), f32(3)]), ValueError, r"stack needs tensors of one shape.*\(2,\), \(3,\)"),
    (lambda: rt.split(f32(5, 2), 2), ValueError, r"split: axis 0 of \(5, 2\) has 5 elements, which 2 does not divide"),
    (lambda: rt.split(f32(5), 5, axis=1), ValueError, r"split: axis 1 does not exist"),
    (lambda: rt.pad(f32(2, 3), [(1, 1)]), ValueError, r"pad wants one .*2 axes"),
    (lambda: rt.zeros(2, 3), TypeError, r"a shape is one argument, \(2, 3, \.\.\.\); here 3 stands where"),
    (lambda: rt.randint(0, 9, 2, 3), TypeError, r"a shape is one argument, \(2, 3, \.\.\.\)"),
    (lambda: rt.broadcast_to(f32(2, 3), (2, 4)), ValueError, r"broadcast_to: .*float32\[2, 3\]"),
    (lambda: rt.nn.hardtanh(f32(2), 1.0, -1.0), ValueError, r"hardtanh: min_val=1\.0 lies above max_val=-1\.0"),
    (lambda: rt.nn.softshrink(f32(2), -0.5), ValueError, r"softshrink: lambd is >= 0; got -0\.5"),
    (lambda: rt.cov(f32(2, 3), fweights=np.ones(3)), TypeError, r"cov: fweights are counts, integers; got float64"),
    (lambda: rt.cov(f32(2, 3), aweights=[1, -1, 2]), ValueError, r"cov: aweights are >= 0"),
    (lambda: rt.nonzero(f32()), ValueError, r"nonzero: a number has no axes.*argwhere"),
    (lambda: rt.sum(f32(), axis=1), ValueError, r"sum: axis 1 does not exist.*float32\[\]"),
    (lambda: rt.argmax(f32(), axis=(0, 1)), ValueError, r"argmax: axis 1 does not exist"),
    (lambda: rt.cumsum(f32(), axis=1), ValueError, r"cumsum: axis 1 does not exist"),
    (lambda: rt.tril(f32(3)), ValueError, r"tril wants at least two axes; got \(3,\)"),
    (lambda: rt.triu(f32()), ValueError, r"triu wants at least two axes; got \(\)"),
    (lambda: rt.diag_embed(f32(2, 3), 0, 1, -2), ValueError, r"diag_embed: the axes 1 and -2 are one"),
    (lambda: rt.roll(f32(3), ()), ValueError, r"roll: no shift is given"),
    (lambda: -(f32(2) > 0), TypeError, r"negative: .*bool\[2\]"),
    (lambda: rt.isclose(f32(2), 1.0, rtol=-1.0), ValueError, r"isclose: rtol and atol are >= 0; got -1\.0"),
    (lambda: rt.arange(0, 3, 0), ValueError, r"arange: the step is 0"),
    (lambda: rt.nn.huber_loss(f32(2), f32(2), delta=0.0), ValueError, r"huber_loss: delta is > 0; got 0\.0"),
    (lambda: rt.nn.triplet_margin_loss(*[f32(2, 3)] * 3, margin=0.0), ValueError, r"margin is > 0; got 0\.0"),
    (lambda: rt.sum(f32(2, 3), axis=2), ValueError, r"sum: axis 2 .*float32\[2, 3\]"),
    (lambda: rt.sum(f32(2), 0, True, 3), TypeError, r"sum takes at most 3 arguments: x, axis, keepdims"),
    (lambda: rt.max(f32(0)), ValueError, r"max: .*float32\[0\]"),
    (lambda: rt.mean(f32(0, 3), 0), ValueError, r"mean of no elements: axis 0 of shape \(0, 3\)"),
    (lambda: rt.var(f32(1), ddof=1), ValueError, r"var needs more than ddof=1 elements"),
    (lambda: rt.clip(f32(2), f32(3)), ValueError, r"less: .*float32\[2\], float32\[3\]"),
    (lambda: rt.moveaxis(f32(2, 3), (0, 1), (1,)), ValueError, r"moveaxis: axes \(0, 1\) cannot go to \(1,\)"),
    (lambda: rt.moveaxis(f32(2, 3), (0, -2), (1, 0)), ValueError, r"moveaxis: .*none twice"),
    (
        lambda: rt.scatter_reduce(f32(2) > 0, 0, [0], f32(1) > 0, "amax"),
        TypeError,
        r"scatter_reduce: 'amax' is for numbers; x is bool",
    ),
    (
        lambda: rt.scatter_reduce(rt.arange(2), 0, [0], rt.arange(1), "mean"),
        TypeError,
        r"'mean' is for floats; x is int64",
    ),
    (lambda: rt.linalg.eigh(f32(2, 2), "l"), ValueError, r"eigh: UPLO is 'L' or 'U'; got 'l'"),
    (lambda: rt.searchsorted(f32(2, 3), f32(3)), ValueError, r"searchsorted wants a sorted x \(n,\); got \(2, 3\)"),
    (lambda: rt.nanquantile(f32(3), 1.5), ValueError, r"nanquantile: q is one number or a row of them in 0 \.\. 1"),
    (lambda: rt.nanquantile(f32(3), 0.5, method="mean"), ValueError, r"nanquantile: method 'mean' is unknown"),
    (lambda: rt.cov(f32(2, 3), aweights=[1, 2]), ValueError, r"cov: aweights are \(3,\).*got \(2,\)"),
    (lambda: rt.flip(f32(2), 1), ValueError, r"flip: axis 1 does not exist"),
    (lambda: rt.clip(f32(2)), ValueError, r"clip needs a lower bound, an upper bound, or both"),
    (lambda: f32(2, 3)[2], IndexError, r"getitem: .*out of bounds.*float32\[2, 3\]"),
    (lambda: f32(2, 3)[[5]], IndexError, r"getitem: .*out of bounds"),
    (lambda: rt.take(f32(2, 3), [5]), IndexError, r"getitem: .*out of bounds"),
    (lambda: rt.take(f32(2, 3), [0], 2), ValueError, r"take: axis 2 does not exist"),
    (lambda: rt.take_along_axis(f32(2, 3), [0], 1), ValueError, r"indices have 1 axes, the tensor has 2"),
    (lambda: rt.one_hot([0, 3], 3), ValueError, r"one_hot: an index lies outside 0 \.\. 2: 0 \.\. 3"),
    (lambda: rt.one_hot(np.ones(2), 3), TypeError, r"one_hot: indices are integers; got float64"),
    (lambda: rt.einsum("ij,jk", f32(2, 3)), ValueError, r"einsum 'ij,jk' has 2 operands, 1 were given"),
    (lambda: rt.einsum("ii->i", f32(2, 3)), ValueError, r"einsum 'ii->i': axis 'i' has lengths 2 and 3"),
    (lambda: rt.einsum("...i,...i", f32(2, 3), f32(4, 3)), ValueError, r"axis 'A' has lengths 2 and 4"),
    (lambda: rt.linalg.inv(f32(2, 2)), ValueError, r"inv: Singular matrix"),
    (lambda: rt.linalg.inv(f32(2, 3)), ValueError, r"inv wants square matrices .*\(2, 3\)"),
    (lambda: rt.linalg.solve(f32(2, 2), f32(3, 1)), ValueError, r"solve: a \(2, 2\) and b \(3, 1\)"),
    (lambda: rt.linalg.cholesky(-rt.eye(2)), ValueError, r"cholesky: Matrix is not positive definite"),
    (lambda: rt.linalg.norm(f32(2, 3), 5), ValueError, r"norm: order 5 over 2 axes"),
    (lambda: rt.tensordot(f32(2, 3), f32(4, 5), 1), ValueError, r"tensordot: the axes 1 of \(2, 3\) and \(4, 5\)"),
    (lambda: rt.einsum("ij->i", f32(2)), ValueError, r"operand 0 has 1 axes, its subscripts are 'ij'"),
    (lambda: rt.einsum("ij,jk", f32(2, 3), f32(4, 5)), ValueError, r"axis 'j' has lengths 3 and 4"),
    (lambda: rt.einsum("ij->ijk", f32(2, 3)), ValueError, r"einsum 'ij->ijk': each subscript of the result"),
    (lambda: rt.einsum("ij->ii", f32(2, 3)), ValueError, r"einsum 'ij->ii': each subscript of the result"),
    (lambda: rt.nn.linear(f32(2, 3), f32(4, 5)), ValueError, r"linear: .*\(2, 3\).*\(4, 5\) wants 5"),
    (lambda: rt.nn.gelu(f32(2), "fast"), ValueError, r"gelu: approximate='fast' is unknown; use 'none' or 'tanh'"),
    (lambda: rt.nn.conv2d(f32(5, 5), f32(2, 3, 3, 3)), ValueError, r"conv2d wants .*\(5, 5\)"),
    (lambda: rt.nn.conv2d(f32(1, 4, 5, 5), f32(2, 3, 3, 3)), ValueError, r"conv2d: the input has 4 channels.*wants 3"),
    (lambda: rt.nn.conv2d(f32(1, 3, 5, 5), f32(2, 3, 3, 3), f32(1)), ValueError, r"the bias is \(2,\); got \(1,\)"),
    (lambda: rt.nn.conv2d(f32(1, 3, 2, 5), f32(2, 3, 3, 3)), ValueError, r"conv2d: a kernel of 3 .*not fit 2 elements"),
    (lambda: rt.nn.conv2d(f32(1, 3, 5, 5), f32(2, 3, 3, 3), stride=0), ValueError, r"conv2d: stride \(0, 0\)"),
    (
        lambda: rt.nn.conv2d(f32(1, 3, 5, 5), f32(2, 3, 3, 3), stride=(1, 2, 3)),
        ValueError,
        r"stride must be an integer",
    ),
    (lambda: rt.nn.max_pool2d(f32(1, 1, 2, 2), 3), ValueError, r"max_pool2d: a window of 3 does not fit 2 elements"),
    (lambda: rt.nn.avg_pool2d(f32(1, 1, 4, 4), 2, padding=2), ValueError, r"avg_pool2d: .*half the kernel"),
    (lambda: rt.nn.cross_entropy(f32(3, 4), [0, 9, 1]), ValueError, r"target 9 at \[1\] is no class.*0 \.\. 3"),
    (lambda: rt.nn.cross_entropy(f32(3, 4), np.ones(3)), TypeError, r"class numbers, integers; got float64"),
    (lambda: rt.nn.cross_entropy(f32(3, 4), [0, 1]), ValueError, r"\(3, 4\) want targets of shape \(3,\); got \(2,\)"),
    (
        lambda: rt.nn.cross_entropy(f32(1, 4), f32(1, 4), ignore_index=1),
        ValueError,
        r"ignore_index is for class numbers",
    ),
    (lambda: rt.nn.cross_entropy(f32(1, 4), [0], reduction="max"), ValueError, r"reduction 'max' is unknown"),
    (lambda: rt.nn.cross_entropy(f32(1, 4), [0], label_smoothing=2.0), ValueError, r"label_smoothing .*got 2\.0"),
    (lambda: rt.nn.nll_loss(f32(1, 200), [-1]), ValueError, r"nll_loss: target -1 at \[0\] is no class"),
    (lambda: rt.nn.mse_loss(f32(3), 1.0), ValueError, r"mse_loss: prediction \(3,\) and target \(\)"),
    (lambda: rt.nn.mse_loss(f32(3), f32(3, 1)), ValueError, r"mse_loss: prediction \(3,\) and target \(3, 1\)"),
    (lambda: rt.tensor([[1, 2], [3]]), (TypeError, ValueError), r"inhomogeneous|unequal length"),
    (lambda: rt.tensor(np.array([1, None])), TypeError, r"a tensor holds numbers, not object"),
    (lambda: f32(2).to("meta").to("cpu"), RuntimeError, r"float32\[2\] on device 'meta' has no values"),
    (lambda: rt.zeros((2, 3), device="meta").__setitem__(0, np.ones(2)), ValueError, r"setitem.*float32\[2, 3\]"),
    (lambda: rt.tensor(["a"]), TypeError, r"a tensor holds numbers"),
    (lambda: rt.tensor([1.0], device="gpu"), ValueError, r"'gpu' is unknown; use 'cpu', 'cuda'"),
    (lambda: rt.tensor([1.0], device="cpu:1"), ValueError, r"the CPU is one device"),
    (lambda: rt.Tensor([1.0]), TypeError, r"list is no array.*rt\.tensor"),
    (lambda: f32(2).item(), ValueError, r"one element; this one is float32\[2\]"),
    (lambda: bool(f32(2)), ValueError, r"float32\[2\] is ambiguous; use \.all\(\) or \.any\(\)"),
    (lambda: len(f32()), TypeError, r"no axes has no length"),
    (lambda: [1, 2][f32(1)], TypeError, r"one integer is an index"),
    (lambda: f32(2).requires_grad_().numpy(), RuntimeError, r"t\.detach\(\)\.numpy\(\)"),
    (lambda: rt.tensor([1.0], device="meta").numpy(), RuntimeError, r"meta.*no values"),
    (lambda: setattr(f32(2).requires_grad_(), "grad", f32(3)), ValueError, r"float32\[3\] does not fit .*float32\[2\]"),
    (lambda: setattr(f32(2).requires_grad_(), "data", np.ones(3)), ValueError, r"float64\[3\] cannot replace"),
    (lambda: setattr(f32(2), "grad", f32(2)), RuntimeError, r"leaves that require a gradient"),
    (lambda: rt.gradcheck(rt.exp, f32(2)), TypeError, r"gradcheck: no input requires a gradient"),
    (lambda: rt.gradcheck(rt.exp, f32(2).requires_grad_()), TypeError, r"input 0 is float32.*float64"),
]


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES])
def test_message(mistake, kind, message):
    with pytest.raises(kind, match=message):
        mistake()


@pytest.mark.parametrize("name", ["transpose", "swapaxes", "squeeze", "sum", "concatenate", "matmul", "add"])
def test_meta_tensors_are_refused_like_real_ones(name):
    """The shape rules check what the ops check."""
    x, y = (rt.zeros(s, device="meta") for s in ((2, 3), (4, 5)))
    calls = {
        "transpose": lambda: rt.transpose(x, (0, 3)),
        "swapaxes": lambda: rt.swapaxes(x, 0, 2),
        "squeeze": lambda: rt.squeeze(x, 0),
        "sum": lambda: rt.sum(x, 2),
        "concatenate": lambda: rt.concatenate([x, y]),
        "matmul": lambda: rt.matmul(x, y),
        "add": lambda: x + y,
    }
    with pytest.raises(ValueError, match=name):
        calls[name]()


def test_gradcheck_finds_wrong_gradients():
    """First order, second order, and a gradient that should hang on the point and does not."""

    class Cube(rt.Function):
        factor, detached = 3.0, False

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @classmethod
        def backward(cls, ctx, g):
            (x,) = ctx.saved_tensors
            return g * (x.detach() if cls.detached else x) ** 2 * cls.factor

    x = rt.from_numpy(np.array([0.7, -1.1, 2.0])).requires_grad_()
    assert rt.gradcheck(Cube.apply, x)
    wrong = type("Wrong", (Cube,), {"factor": 3.001})
    with pytest.raises(AssertionError, match="gradcheck: the gradient along a random direction"):
        rt.gradcheck(wrong.apply, x)
    detached = type("Detached", (Cube,), {"detached": True})
    assert rt.gradcheck(detached.apply, x, order=1)
    with pytest.raises(AssertionError, match="gradcheck: the second derivative"):
        rt.gradcheck(detached.apply, x)
