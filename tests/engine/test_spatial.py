"""What the table of ops does not say of images: corners of shapes, ties, integers, boxes, tables, and messages."""

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.ops.gather import Table, gather
from ringtrain.ops.padding import pad_spatial

from . import spatial_reference as ref


def f32(*shape):
    return rt.zeros(shape)


def leaf(array):
    return rt.from_numpy(np.asarray(array, np.float64)).requires_grad_()


W = {1: (2, 3, 3), 2: (2, 3, 3, 3), 3: (2, 3, 3, 3, 3)}
SHAPELY = {
    "conv": lambda x: nn.conv2d(x, rt.ones((4, 3, 3, 3), dtype=x.dtype), rt.ones((4,), dtype=x.dtype), 2, 1),
    "conv of groups": lambda x: nn.conv2d(x, rt.ones((6, 1, 3, 3), dtype=x.dtype), padding="same", groups=3),
    "transposed": lambda x: nn.conv_transpose2d(x, rt.ones((3, 4, 3, 3), dtype=x.dtype), None, 2, 1, 1),
    "max": lambda x: nn.max_pool2d(x, 2, ceil_mode=True),
    "max with places": lambda x: nn.max_pool2d(x, 2, return_indices=True)[0],
    "avg": lambda x: nn.avg_pool2d(x, 3, 2, 1, True, False),
    "lp": lambda x: nn.lp_pool2d(x, 2, 2),
    "adaptive": lambda x: nn.adaptive_avg_pool2d(x, (2, 3)),
    "adaptive max": lambda x: nn.adaptive_max_pool2d(x, (2, None)),
    "bilinear": lambda x: nn.interpolate(x, 7, mode="bilinear"),
    "nearest": lambda x: nn.interpolate(x, scale_factor=2),
    "unfold": lambda x: nn.unfold(x, 2),
    "reflect": lambda x: pad_spatial(x, [(1, 2), (2, 0)], "reflect"),
    "group norm": lambda x: nn.group_norm(x, 3),
    "instance norm": nn.instance_norm,
    "layer norm": lambda x: nn.layer_norm(x, (5, 4)),
    "responses": lambda x: nn.local_response_norm(x, 3),
    "grid": lambda x: nn.grid_sample(x, rt.zeros((x.shape[0], 2, 6, 2), dtype=x.dtype, device=x.device)),
}


@pytest.mark.parametrize("name", SHAPELY)
def test_no_images(name):
    """A batch of none goes through, and back."""
    op = SHAPELY[name]
    x = leaf(np.zeros((0, 3, 5, 4)))
    out = op(x)
    assert out.shape[0] == 0 and out.shape[1:] == op(leaf(np.ones((2, 3, 5, 4)))).shape[1:]
    out.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("name", SHAPELY)
def test_meta(name):
    x = rt.zeros((2, 3, 5, 4), device="meta")
    out, real = SHAPELY[name](x), SHAPELY[name](f32(2, 3, 5, 4))
    assert out.device == "meta" and (out.shape, out.dtype) == (real.shape, real.dtype)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_16_bits_are_added_in_float32(dtype):
    """4096 ones: a sum in 16 bits would stop growing at 2048, or at 256."""
    x = rt.ones((1, 1, 64, 64), dtype=dtype).requires_grad_()
    assert nn.avg_pool2d(x, 64).item() == 1.0
    assert nn.adaptive_avg_pool2d(x, 1).item() == 1.0
    assert nn.conv2d(x, rt.ones((1, 1, 64, 64), dtype=dtype)).item() == 4096.0
    edge = pad_spatial(rt.ones((1, 1, 1), dtype=dtype).requires_grad_(), [(2000, 2095)], "replicate")
    assert edge.dtype == dtype and edge.sum().item() == 4096.0
    one = rt.ones((1, 1, 1), dtype=dtype).requires_grad_()
    pad_spatial(one, [(2000, 2095)], "replicate").sum().backward()
    assert one.grad.item() == 4096.0 and one.grad.dtype == dtype


def test_max_pool_of_integers_and_of_padding_alone():
    x = rt.from_numpy(-np.arange(1, 10).reshape(1, 1, 3, 3))
    np.testing.assert_array_equal(nn.max_pool2d(x, 2, 2, 1).numpy(), [[[[-1, -2], [-4, -5]]]])
    x = leaf(np.ones((1, 1, 2)))  # the window at 1 sees places -1 and 2
    best, places = nn.max_pool1d(x, 2, 1, 2, dilation=3, return_indices=True)
    np.testing.assert_array_equal(best.detach().numpy(), [[[1, -np.inf, 1]]])
    assert ((places.numpy() >= 0) & (places.numpy() < 2)).all()
    nn.max_pool1d(x, 2, 1, 2, dilation=3)[..., ::2].sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[[1, 1]]])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_first_of_ties_and_any_nan(d):
    x = leaf(np.ones((1, 1, *(3,) * d)))
    getattr(nn, f"max_pool{d}d")(x, 2, 1).sum().backward()
    want = np.zeros((3,) * d)
    want[(slice(2),) * d] = 1
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], want)
    values = np.zeros((1, 1, *(4,) * d))
    values[(0, 0, *(1,) * d)] = np.nan
    for out in (getattr(nn, f"max_pool{d}d")(leaf(values), 2), getattr(nn, f"adaptive_max_pool{d}d")(leaf(values), 2)):
        assert np.isnan(out.detach().numpy()).sum() == 1 and np.isnan(out.detach().numpy().flat[0])


@pytest.mark.parametrize("d", [2, 3])
def test_of_equal_elements_the_first_row_counts(d):
    """Of ties at (..., 0, 1) and (..., 1, 0) the former comes first."""
    x = np.zeros((1, 1, *(2,) * d))
    x[(0, 0, *(0,) * (d - 1), 1)] = x[(0, 0, *(0,) * (d - 2), 1, 0)] = 5.0
    for _, places in (
        getattr(nn, f"max_pool{d}d")(rt.from_numpy(x), 2, return_indices=True),
        getattr(nn, f"adaptive_max_pool{d}d")(rt.from_numpy(x), 1, return_indices=True),
    ):
        assert places.item() == 1


def test_same_padding_puts_the_odd_one_at_the_end(rng):
    x, w = rng.standard_normal((2, 3, 5, 6)), rng.standard_normal((4, 3, 2, 4))
    got = nn.conv2d(rt.from_numpy(x), rt.from_numpy(w), padding="same").numpy()
    np.testing.assert_allclose(got, ref.conv(np.pad(x, [(0, 0), (0, 0), (0, 1), (1, 2)]), w), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [(2, 1, 0, 1), ((2, 3), (3, 1), (0, 2), (1, 2))], ids=str)
def test_fold_is_the_transpose_of_unfold(window, rng):
    x = rng.standard_normal((2, 3, 7, 8))
    columns = nn.unfold(rt.from_numpy(x), *window).numpy()
    y = rng.standard_normal(columns.shape)
    back = nn.fold(rt.from_numpy(y), (7, 8), *window).numpy()
    np.testing.assert_allclose((columns * y).sum(), (x * back).sum(), rtol=1e-12)


def test_what_is_not_seen_spoils_nothing():
    """Infinities and nans reach only the results that they are part of, with their gradients."""
    x = np.zeros((1, 1, 6))
    x[0, 0, 0] = np.inf
    for mode in ("nearest", "linear"):
        out = nn.interpolate(rt.from_numpy(x), 12, mode=mode).numpy()
        assert np.isfinite(out[0, 0, 4:]).all()
    out = nn.adaptive_avg_pool1d(rt.from_numpy(x), 4).numpy()
    assert np.isinf(out[0, 0, 0]) and np.isfinite(out[0, 0, 1:]).all()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("widths", [[(2, 1), (0, 3)], [(-1, 2), (1, -2)], [(0, 0), (3, 3)]], ids=str)
def test_padding_by_the_input_itself(mode, widths, rng):
    x = rng.standard_normal((2, 3, 4, 5))
    kind = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    want = np.pad(x, [(0, 0), (0, 0), *[(max(a, 0), max(b, 0)) for a, b in widths]], mode=kind)
    cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(want.shape[2:], widths, strict=True))
    np.testing.assert_array_equal(pad_spatial(rt.from_numpy(x), widths, mode).numpy(), want[(..., *cut)])
    assert rt.gradcheck(lambda t: pad_spatial(t, widths, mode), leaf(x))


def test_a_table_and_its_transpose_are_transposed_matrices(rng):
    index, weight = rng.integers(0, 5, (7, 3)), rng.standard_normal((7, 3))
    weight[2] = 0.0
    for table in (Table(index, weight, 5), Table(index[:, :1], None, 5)):
        matrix = gather(rt.from_numpy(np.eye(5)), table, 0).numpy()
        np.testing.assert_allclose(gather(rt.from_numpy(np.eye(7)), table.transpose, 0).numpy(), matrix.T, atol=1e-15)
        want = np.zeros((7, 5))
        for i, k in np.ndindex(table.index.shape):
            want[i, table.index[i, k]] += 1.0 if table.weight is None else table.weight[i, k]
        np.testing.assert_allclose(matrix, want, atol=1e-15)


class TestBoxes:
    BOXES = np.array([[1, 0.3, 5.5, 4, 8.9], [0, 1, 1, 7, 6], [1, -3, -2, 20, 30], [0, 2, 2, 2, 2], [0, 9, 9, 8, 8]])

    @pytest.mark.parametrize("aligned", [False, True])
    @pytest.mark.parametrize("ratio", [-1, 1, 3])
    def test_roi_align(self, aligned, ratio, rng):
        """Boxes of different sizes, one beyond the image, one of no extent, and one turned round."""
        x = rng.standard_normal((2, 3, 9, 11))
        boxes = self.BOXES if not aligned or ratio > 0 else self.BOXES[:4]
        got = nn.roi_align(rt.from_numpy(x), rt.from_numpy(boxes), (3, 2), 0.7, ratio, aligned).numpy()
        np.testing.assert_allclose(got, ref.roi_align(x, boxes, (3, 2), 0.7, ratio, aligned), rtol=1e-12, atol=1e-12)

    def test_a_list_of_boxes_and_none(self, rng):
        x = leaf(rng.standard_normal((2, 3, 9, 11)))
        parts = [rt.from_numpy(self.BOXES[self.BOXES[:, 0] == i, 1:]) for i in (0, 1)]
        joined = rt.from_numpy(np.concatenate([self.BOXES[self.BOXES[:, 0] == i] for i in (0, 1)]))
        a, b = nn.roi_align(x, parts, 2), nn.roi_align(x, joined, 2)
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        none = nn.roi_align(x, f32(0, 5), (2, 3))
        none.sum().backward()
        assert none.shape == (0, 3, 2, 3) and not x.grad.numpy().any()

    def test_nms(self, rng):
        boxes = rng.uniform(0, 10, (60, 4))
        boxes[:, 2:] = boxes[:, :2] + rng.uniform(0.5, 4, (60, 2))
        scores = rng.integers(0, 20, 60) / 20.0
        overlap = nn.box_iou(rt.from_numpy(boxes), rt.from_numpy(boxes)).numpy()
        for threshold in (0.0, 0.3, 0.9):
            kept = []
            for i in sorted(range(60), key=lambda i: (-scores[i], i)):
                if all(overlap[i, j] <= threshold for j in kept):
                    kept.append(i)
            got = nn.nms(rt.from_numpy(boxes), rt.from_numpy(scores), threshold)
            assert got.dtype == np.int64 and got.numpy().tolist() == kept
        classes = rng.integers(0, 3, 60)
        got = nn.batched_nms(rt.from_numpy(boxes), rt.from_numpy(scores), rt.from_numpy(classes), 0.2).numpy()
        each = [
            np.flatnonzero(classes == c)[nn.nms(boxes[classes == c], scores[classes == c], 0.2).numpy()]
            for c in range(3)
        ]
        assert sorted(got) == sorted(np.concatenate(each)) and (np.diff(scores[got]) <= 0).all()
        assert nn.nms(np.zeros((0, 4)), np.zeros(0), 0.5).shape == (0,)

    def test_iou_of_nothing(self):
        nothing = rt.from_numpy(np.array([[1.0, 1, 1, 1]]))
        assert nn.box_iou(nothing, nothing).item() == 0.0


def test_unpool_undoes_pool(rng):
    x = rng.standard_normal((2, 3, 6, 8))
    best, places = nn.max_pool2d(rt.from_numpy(x), 2, return_indices=True)
    back = nn.max_unpool2d(best, places, 2).numpy()
    assert back.shape == x.shape and (back[back != 0] == x[back != 0]).all() and (back != 0).sum() == best.size


def test_lp_pool_of_zeros_has_gradient_zero():
    x = leaf(np.zeros((1, 1, 4)))
    nn.lp_pool1d(x, 2, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 0)


MISTAKES = [
    (lambda: nn.conv1d(f32(2, 3, 5, 5), f32(*W[1])), r"conv1d wants an input \(N, C, L\); got \(2, 3, 5, 5\)"),
    (
        lambda: nn.conv3d(f32(2, 3, 5, 5), f32(*W[2])),
        r"conv3d wants .*weight \(O, C, KD, KH, KW\); got .*\(2, 3, 3, 3\)",
    ),
    (lambda: nn.conv1d(f32(2, 4, 5), f32(*W[1])), r"conv1d: the input has 4 channels.*wants 3"),
    (lambda: nn.conv2d(f32(2, 3, 5, 5), f32(*W[2]), groups=0), r"conv2d: groups must be >= 1; got 0"),
    (lambda: nn.conv2d(f32(2, 9, 5, 5), f32(*W[2]), groups=3), r"groups must divide its 2 outputs"),
    (
        lambda: nn.conv3d(f32(2, 3, 5, 2, 5), f32(*W[3])),
        r"conv3d: a kernel of 3 .*not fit 2 elements.*\(2, 3, 5, 2, 5\)",
    ),
    (lambda: nn.conv1d(f32(2, 3, 5), f32(*W[1]), dilation=3), r"conv1d: a kernel of 3 \(dilation 3\) does not fit 5"),
    (
        lambda: nn.conv1d(f32(2, 3, 5), f32(*W[1]), stride=-1),
        r"conv1d: stride \(-1,\) and dilation \(1,\) must be >= 1",
    ),
    (lambda: nn.conv2d(f32(2, 3, 5, 5), f32(*W[2]), padding=-1), r"conv2d: padding \(-1, -1\) must be >= 0"),
    (
        lambda: nn.conv2d(f32(2, 3, 5, 5), f32(*W[2]), padding="full"),
        r"conv2d: padding 'full' is unknown; use .*'same'",
    ),
    (lambda: nn.conv2d(f32(2, 3, 5, 5), f32(*W[2]), padding="same", stride=2), r"'same' needs stride 1.*\(2, 2\)"),
    (lambda: nn.conv2d(f32(2, 3, 5, 5), f32(2, 3, 0, 3)), r"a weight of shape \(2, 3, 0, 3\) holds no kernel"),
    (lambda: nn.conv_transpose2d(f32(2, 3, 5, 5), f32(4, 2, 3, 3)), r"conv_transpose2d: the input has 3 .*wants 4"),
    (lambda: nn.conv_transpose2d(f32(3, 5), f32(3, 2, 3, 3)), r"conv_transpose2d wants an input \(N, C, H, W\)"),
    (lambda: nn.conv_transpose1d(f32(2, 3, 5), f32(3, 2, 3), f32(3)), r"2 outputs, so the bias is \(2,\); got \(3,\)"),
    (
        lambda: nn.conv_transpose1d(f32(2, 3, 5), f32(3, 2, 3), None, 2, 0, 2),
        r"output_padding \(2,\) .*less than stride",
    ),
    (lambda: nn.conv_transpose1d(f32(2, 3, 1), f32(3, 2, 3), None, 1, 3), r"1 elements with kernel 3.*leave nothing"),
    (
        lambda: nn.conv_transpose1d(f32(2, 3, 5), f32(3, 2, 3), stride=0),
        r"stride \(0,\) and dilation \(1,\) must be >= 1",
    ),
    (lambda: nn.max_pool1d(f32(2, 3, 1), 2), r"max_pool1d: a window of 2 does not fit 1 elements .*\(2, 3, 1\)"),
    (lambda: nn.max_pool3d(f32(2, 3, 4), 2), r"max_pool3d wants an input \(N, C, D, H, W\); got \(2, 3, 4\)"),
    (lambda: nn.max_pool2d(f32(2, 3, 4, 4), 2, padding=2), r"max_pool2d: kernel \(2, 2\).*padding \(2, 2\) 0 to half"),
    (lambda: nn.max_pool2d(f32(2, 3, 4, 4), 2, stride=0), r"max_pool2d: .*stride \(0, 0\)"),
    (lambda: nn.max_pool2d(f32(2, 3, 0, 4), 1), r"max_pool2d: a window of 1 does not fit 0 elements"),
    (lambda: nn.avg_pool2d(f32(2, 3, 4, 4), 2, divisor_override=0), r"avg_pool2d: divisor_override must not be 0"),
    (lambda: nn.adaptive_avg_pool2d(f32(2, 3, 4, 4), (2, 0)), r"adaptive_avg_pool2d: lengths must be >= 1.*\(2, 0\)"),
    (lambda: nn.adaptive_max_pool2d(f32(2, 3, 4, 4), (2, 2, 2)), r"output_size must be an integer or two"),
    (lambda: nn.lp_pool2d(f32(2, 3, 4, 4), 0, 2), r"lp_pool2d: norm_type must be > 0; got 0"),
    (lambda: nn.max_unpool1d(f32(1, 1, 2), rt.zeros((1, 1, 2), dtype=np.int64) + 9, 2), r"outside the 4 elements"),
    (lambda: nn.max_unpool1d(f32(1, 1, 2), rt.zeros((1, 1, 3), dtype=np.int64), 2), r"\(1, 1, 2\) and .*\(1, 1, 3\)"),
    (lambda: nn.interpolate(f32(2, 3, 4)), r"interpolate wants either size or scale_factor"),
    (
        lambda: nn.interpolate(f32(2, 3, 4), 2, mode="bilinear"),
        r"mode 'bilinear' is for 2 spatial axes; \(2, 3, 4\) has 1",
    ),
    (lambda: nn.interpolate(f32(2, 3, 4), 2, mode="cubic"), r"mode 'cubic' is unknown; use 'nearest'"),
    (lambda: nn.interpolate(f32(2, 3, 4), 2, align_corners=True), r"align_corners says nothing about mode 'nearest'"),
    (lambda: nn.interpolate(f32(2, 3, 4), scale_factor=0.1), r"scale_factor 0.1 leaves nothing of \(2, 3, 4\)"),
    (lambda: nn.interpolate(f32(2, 3, 4, 4), (2, 2, 2)), r"size is one positive number or 2 of them.*\(2, 2, 2\)"),
    (lambda: nn.pixel_shuffle(f32(2, 3, 4, 4), 2), r"pixel_shuffle wants \(N, C \* 2\^d, ...\).*got \(2, 3, 4, 4\)"),
    (lambda: nn.pixel_unshuffle(f32(2, 3, 5, 4), 2), r"pixel_unshuffle wants .*got \(2, 3, 5, 4\)"),
    (lambda: nn.channel_shuffle(f32(2, 3, 4), 2), r"groups=2 must divide the channels of \(2, 3, 4\)"),
    (
        lambda: nn.unfold(f32(2, 3, 2, 5), 3),
        r"unfold: a kernel \(3, 3\) \(dilation \(1, 1\)\) does not fit an image \(2, 5\)",
    ),
    (lambda: nn.fold(f32(2, 12, 5), (4, 5), 2), r"fold: .*want an input \(N, C \* 4, 12\); got \(2, 12, 5\)"),
    (
        lambda: nn.grid_sample(f32(2, 3, 4, 4), f32(2, 5, 5, 3)),
        r"wants a grid \(N, ..., 2\) of 4 axes; got \(2, 5, 5, 3\)",
    ),
    (lambda: nn.grid_sample(f32(2, 3, 4, 4), f32(2, 5, 5, 2), "cubic"), r"mode 'cubic' of 2 spatial axes is unknown"),
    (
        lambda: nn.grid_sample(f32(2, 3, 4, 4, 4), f32(2, 5, 5, 5, 3), "bicubic"),
        r"mode 'bicubic' of 3 spatial axes is unknown",
    ),
    (lambda: nn.affine_grid(f32(2, 2, 2), (2, 3, 4, 4)), r"wants theta \(2, 2, 3\); got \(2, 2, 2\)"),
    (lambda: nn.roi_align(f32(2, 3, 4, 4), rt.from_numpy(np.array([[2.0, 0, 0, 1, 1]])), 2), r"outside 0 \.\. 1"),
    (lambda: nn.roi_align(f32(2, 3, 4, 4), f32(5, 4), 2), r"roi_align wants boxes \(K, 5\).*got \(5, 4\)"),
    (lambda: nn.nms(f32(3, 4), f32(2), 0.5), r"nms wants boxes \(K, 4\) and scores \(K,\); got \(3, 4\) and \(2,\)"),
    (lambda: nn.layer_norm(f32(2, 3), 4), r"layer_norm: the input \(2, 3\) does not end in normalized_shape \(4,\)"),
    (lambda: nn.layer_norm(f32(2, 3), 3, f32(2)), r"weight and bias have the normalized_shape \(3,\); got \(2,\)"),
    (lambda: nn.group_norm(f32(2, 3, 4), 2), r"group_norm wants .*num_groups=2 divides; got \(2, 3, 4\)"),
    (lambda: nn.group_norm(f32(2, 4, 4), 2, f32(2)), r"of an input \(2, 4, 4\) have 4 values; got \(2,\)"),
    (lambda: nn.instance_norm(f32(2, 3, 1)), r"more than one element a channel; got float32\[2, 3, 1\]"),
    (lambda: nn.local_response_norm(f32(2, 3), 3), r"local_response_norm wants \(N, C, ...\)"),
    (lambda: pad_spatial(f32(2, 3, 4), [(4, 0)], "reflect", name="P"), r"P: reflect padding \(4, 0\) is more than 3"),
    (lambda: pad_spatial(f32(2, 3, 4), [(0, 5)], "circular"), r"circular padding \(0, 5\) is more than 4"),
    (lambda: pad_spatial(f32(2, 3, 4), [(-2, -3)]), r"cuts more off \(2, 3, 4\) than there is"),
    (lambda: pad_spatial(f32(2, 3, 4), [(1, 1)], "mirror"), r"mode 'mirror' is unknown; use 'constant', 'reflect'"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_message(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_kinds_of_numbers():
    ints = rt.zeros((1, 1, 4, 4), dtype=np.int64)
    with pytest.raises(TypeError, match=r"avg_pool2d wants floats; got int64\[1, 1, 4, 4\]"):
        nn.avg_pool2d(ints, 2)
    with pytest.raises(TypeError, match=r"max_unpool2d: indices are integers; got float32"):
        nn.max_unpool2d(f32(1, 1, 2, 2), f32(1, 1, 2, 2), 2)
    with pytest.raises(RuntimeError, match=r"nms: how many boxes are kept hangs on their values"):
        nn.nms(rt.zeros((3, 4), device="meta"), rt.zeros((3,), device="meta"), 0.5)
