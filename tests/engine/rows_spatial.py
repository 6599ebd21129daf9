"""Rows of convolution, pooling, resizing, sampling and normalisation."""

import math

import numpy as np

import ringtrain as rt
from ringtrain import nn

from . import spatial_reference as ref
from .table import Row

PLANES = {1: (7,), 2: (5, 6), 3: (4, 3, 5)}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
BOXES = np.array([[0, 0.5, 0.6, 4.2, 3.9], [1, 1.0, -2.0, 7.5, 2.5], [0, 3.3, 1.2, 3.4, 4.4]])


def convolutions():
    for d in (1, 2, 3):
        kernel = (3, 2, 2)[:d]
        options = {
            "": ((1, 0, 1, 1), 4),
            "/options": ((2, 1, 2, 1), 4),
            "/groups": ((1, 1, 1, 2), 4),
            "/depthwise": ((2, 2, 1, 4), 8),
        }
        for name, ((stride, padding, dilation, groups), o) in options.items():
            yield Row(
                f"conv{d}d{name}",
                lambda x, w, b, d=d, o=(stride, padding, dilation, groups): getattr(nn, f"conv{d}d")(x, w, b, *o),
                lambda x, w, b, o=(stride, padding, dilation, groups): ref.conv(x, w, b, *o),
                [((2, 4, *PLANES[d]), (o, 4 // groups, *kernel), (o,))],
            )
        for name, o in {"": (1, 0, 0, 1, 1), "/options": (2, 1, 1, 1, 2), "/groups": (3, 2, 1, 2, 1)}.items():
            yield Row(
                f"conv_transpose{d}d{name}",
                lambda x, w, b, d=d, o=o: getattr(nn, f"conv_transpose{d}d")(x, w, b, *o),
                lambda x, w, b, o=o: ref.conv_transpose(x, w, b, *o),
                [((2, 4, *(3, 4, 2)[:d]), (4, 6 // o[3], *kernel), (6,))],
            )


def pools():
    for d in (1, 2, 3):
        shapes = [((2, 3, *PLANES[d]),)]
        for name, o in {
            "": (2, None, 0, 1, False),
            "/options": (2, 2, 1, 2, True),
            "/ceil": (2, 3, 1, 1, True),
        }.items():
            yield Row(
                f"max_pool{d}d{name}",
                lambda x, d=d, o=o: getattr(nn, f"max_pool{d}d")(x, *o),
                lambda x, o=o: ref.pool(x, ref.largest, *o),
                shapes,
            )
        for name, o, inside in [
            ("", (2, None, 0, False), True),
            ("/options", (2, 3, 1, True), True),
            ("/inside", (2, 3, 1, True), False),
        ]:
            yield Row(
                f"avg_pool{d}d{name}",
                lambda x, d=d, o=o, i=inside: getattr(nn, f"avg_pool{d}d")(x, *o, count_include_pad=i),
                lambda x, o=o, i=inside: ref.pool(x, ref.mean if i else ref.mean_of_inside, *o[:3], 1, o[3]),
                shapes,
            )
        yield Row(
            f"avg_pool{d}d/divisor",
            lambda x, d=d: getattr(nn, f"avg_pool{d}d")(x, 3, divisor_override=5),
            lambda x: ref.pool(x, lambda e, _: e.sum(-1) / 5, 3),
            shapes,
        )
        for size in [(2, 4, 3)[:d], (1,) * d]:
            for kind, reduce in [("max", ref.largest), ("avg", ref.mean_of_inside)]:
                yield Row(
                    f"adaptive_{kind}_pool{d}d/{size}",
                    lambda x, d=d, k=kind, s=size: getattr(nn, f"adaptive_{k}_pool{d}d")(x, s),
                    lambda x, r=reduce, s=size: ref.adaptive(x, r, s),
                    shapes,
                )
        yield Row(
            f"lp_pool{d}d",
            lambda x, d=d: getattr(nn, f"lp_pool{d}d")(x, 3, 2, 1),
            lambda x: ref.pool(x, lambda e, _: (abs(e) ** 3).sum(-1) ** (1 / 3), 2, 1),
            shapes,
            (0.2, 2),
        )
        yield Row(
            f"max_unpool{d}d",
            lambda x, d=d: getattr(nn, f"max_unpool{d}d")(x, indices(x.shape, d), 2, output_size=(3, 2, 2)[:d]),
            lambda x, d=d: unpooled(x, d),
            [((2, 2, *(1,) * (d - 1), 2),)],
        )


def indices(shape, dims):
    places = np.array([1, math.prod((3, 2, 2)[:dims]) - 1])
    return rt.from_numpy(np.broadcast_to(places, shape).copy())


def unpooled(x, dims):
    plane = (3, 2, 2)[:dims]
    out = np.zeros((*x.shape[:2], math.prod(plane)))
    out[..., 1], out[..., -1] = x.reshape(*x.shape[:2], 2).transpose(2, 0, 1)
    return out.reshape(*x.shape[:2], *plane)


def resizes():
    for d in (1, 2, 3):
        for size in [(9, 4, 7)[:d], (3, 9, 2)[:d]]:
            modes = [("nearest", "nearest", None), (LINEAR[d], "linear", False), (LINEAR[d], "linear", True)]
            modes += [("bicubic", "cubic", False), ("bicubic", "cubic", True)] if d == 2 else []
            for mode, kind, corners in modes:
                yield Row(
                    f"interpolate/{mode}/{size}/{corners}",
                    lambda x, s=size, m=mode, c=corners: nn.interpolate(x, s, mode=m, align_corners=c),
                    lambda x, s=size, k=kind, c=corners: ref.interpolate(x, s, k, c),
                    [((2, 3, *PLANES[d]),)],
                )
    yield Row(
        "pixel_shuffle",
        lambda x: nn.pixel_shuffle(x, 2),
        lambda x: x.reshape(2, 3, 2, 2, 4, 5).transpose(0, 1, 4, 2, 5, 3).reshape(2, 3, 8, 10),
        [((2, 12, 4, 5),)],
    )
    yield Row(
        "pixel_unshuffle",
        lambda x: nn.pixel_unshuffle(x, 2),
        lambda x: np.concatenate([x[:, c : c + 1, i::2, j::2] for c in range(3) for i in (0, 1) for j in (0, 1)], 1),
        [((2, 3, 4, 6),)],
    )
    yield Row("channel_shuffle", lambda x: nn.channel_shuffle(x, 2), lambda x: x[:, [0, 3, 1, 4, 2, 5]], [((2, 6, 3),)])
    yield Row(
        "unfold",
        lambda x: nn.unfold(x, (2, 3), padding=(1, 0), stride=(2, 1)),
        lambda x: columns(np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)])),
        [((2, 3, 5, 6),)],
    )
    yield Row(
        "fold",
        lambda x: nn.fold(x, (4, 5), 2),
        lambda x: ref.conv_transpose(
            x.reshape(2, 12, 3, 4), np.eye(12).reshape(12, 3, 4)[..., None].reshape(12, 3, 2, 2)
        ),
        [((2, 12, 12),)],
    )


def columns(x):
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 3), (2, 3))[:, :, ::2]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), -1, windows.shape[2] * windows.shape[3])


DRAWS = np.array([[[0.1, 0.7], [0.4, 0.2]]])


def _fractional(x):
    """Windows of 2 x 2 in an output of 3 x 2, by Graham's sequences."""
    out = np.zeros((1, 2, 3, 2), x.dtype)
    for c in (0, 1):
        across, down = DRAWS[0, c]
        rows = [int((i + down) * 2.0) - int(down * 2.0) for i in (0, 1)] + [4]  # (6 - 2) / (3 - 1) apart
        columns = [int(across * 3.0) - int(across * 3.0), 3]  # (5 - 2) / (2 - 1) apart
        for i, j in np.ndindex(3, 2):
            out[0, c, i, j] = x[0, c, rows[i] : rows[i] + 2, columns[j] : columns[j] + 2].max()
    return out


def samples():
    yield Row(
        "fractional_max_pool2d",
        lambda x: nn.fractional_max_pool2d(x, 2, (3, 2), samples=DRAWS),
        _fractional,
        [((1, 2, 6, 5),)],
    )
    yield Row(
        "fractional_max_pool3d",
        lambda x: nn.fractional_max_pool3d(x, 2, 1, samples=np.zeros((1, 2, 3))),
        lambda x: x[:, :, -2:, -2:, -2:].max((2, 3, 4), keepdims=True),
        [((1, 2, 3, 4, 3),)],
    )
    yield Row("grid_sample", nn.grid_sample, ref.grid_sample, [((2, 3, 5, 4), (2, 3, 2, 2))], (-1.3, 1.3))
    yield Row(
        "grid_sample/bicubic",
        lambda x, grid: nn.grid_sample(x, grid, "bicubic"),
        lambda x, grid: ref.grid_sample(x, grid, ref.bicubic),
        [((2, 3, 5, 4), (2, 3, 2, 2))],
        (-1.3, 1.3),
    )
    yield Row(
        "affine_grid",
        lambda t: nn.affine_grid(t, (2, 3, 2, 3)),
        lambda t: np.einsum("nij,hwj->nhwi", t, [[[x, y, 1] for x in (-2 / 3, 0, 2 / 3)] for y in (-1 / 2, 1 / 2)]),
        [((2, 2, 3),)],
    )
    for aligned in (False, True):
        for ratio in (-1, 2):
            yield Row(
                f"roi_align/{aligned}/{ratio}",
                lambda x, a=aligned, r=ratio: nn.roi_align(x, rt.from_numpy(BOXES), (2, 3), 0.9, r, a),
                lambda x, a=aligned, r=ratio: ref.roi_align(x, BOXES, (2, 3), 0.9, r, a),
                [((2, 3, 5, 6),)],
            )
    boxes = np.array([[0, 0, 1, 1], [-3, -3, 3, 3.5]])
    yield Row(
        "box_iou",
        lambda x: nn.box_iou(x.abs() + np.array([0, 0, 3, 3]), rt.from_numpy(boxes.astype(x.dtype))).astype(x.dtype),
        lambda x: iou(abs(x) + np.array([0, 0, 3, 3]), boxes),
        [((4, 4),)],
        (0.1, 0.9),
    )


def iou(a, b):
    out = np.zeros((len(a), len(b)))
    for i, j in np.ndindex(*out.shape):
        w, h = (max(0.0, min(a[i, 2 + k], b[j, 2 + k]) - max(a[i, k], b[j, k])) for k in (0, 1))
        areas = [(t[2] - t[0]) * (t[3] - t[1]) for t in (a[i], b[j])]
        out[i, j] = w * h / (sum(areas) - w * h)
    return out


def norms():
    def standard(x, axes, eps=1e-5):
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)

    def groups(x, n):
        return standard(x.reshape(len(x), n, -1), 2).reshape(x.shape)

    def response(x, size, alpha, beta, k):
        p = np.pad(x**2, [(0, 0), (size // 2, (size - 1) // 2), (0, 0)])
        total = sum(p[:, i : i + x.shape[1]] for i in range(size))
        return x / (k + alpha * total / size) ** beta

    per_channel = [((3, 4, 5), (4,), (4,))]
    yield Row(
        "batch_norm",
        lambda x, w, b: nn.batch_norm(x, w, b)[0],
        lambda x, w, b: standard(x, (0, 2)) * w[:, None] + b[:, None],
        per_channel,
    )
    yield Row(
        "layer_norm",
        lambda x, w, b: nn.layer_norm(x, (3, 5), w, b),
        lambda x, w, b: standard(x, (1, 2)) * w + b,
        [((4, 3, 5), (3, 5), (3, 5)), ((0, 3, 5), (3, 5), (3, 5))],
    )
    yield Row("layer_norm/plain", lambda x: nn.layer_norm(x, 5), lambda x: standard(x, -1), [((4, 5),), ((5,),)])
    yield Row(
        "rms_norm",
        lambda x, w: nn.rms_norm(x, 5, w, 1e-3),
        lambda x, w: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * w,
        [((4, 3, 5), (5,))],
    )
    yield Row(
        "group_norm",
        lambda x, w, b: nn.group_norm(x, 2, w, b),
        lambda x, w, b: groups(x, 2) * w[:, None] + b[:, None],
        per_channel,
    )
    yield Row(
        "instance_norm",
        nn.instance_norm,
        lambda x, w, b: standard(x, 2) * w[:, None] + b[:, None],
        per_channel,
    )
    for size in (2, 3):
        yield Row(
            f"local_response_norm/{size}",
            lambda x, s=size: nn.local_response_norm(x, s, 0.3, 0.6, 1.5),
            lambda x, s=size: response(x, s, 0.3, 0.6, 1.5),
            [((2, 4, 3),)],
        )


ROWS = [row for family in (convolutions, pools, resizes, samples, norms) for row in family()]
