"""Transforms of images: what they compute against Pillow, PyTorch's definitions and float64, and what they draw."""

import inspect

import numpy as np
import pytest

from ringtrain import random
from ringtrain.data import drawing
from ringtrain.data import transforms as tf
from ringtrain.data.transforms import colour
from ringtrain.data.transforms.resize import weights

RNG = np.random.default_rng(3)
BYTES = RNG.integers(0, 256, (5, 3, 17, 13), np.uint8)
FLOATS = RNG.random((5, 3, 17, 13)).astype(np.float32)

RANDOM = [
    tf.RandomCrop((9, 7)),
    tf.RandomCrop(17, padding=(4, 2)),
    tf.RandomResizedCrop(8),
    tf.RandomFlipLeftRight(),
    tf.RandomFlipTopBottom(),
    tf.RandomRotation(30),
    tf.RandomErasing(0.7),
    tf.RandomErasing(0.7, value="random"),
    tf.RandomBrightness(0.5),
    tf.RandomContrast(0.5),
    tf.RandomSaturation(0.5),
    tf.RandomHue(0.3),
    tf.ColorJitter(0.4, 0.4, 0.4, 0.2),
    tf.RandomLighting(0.5),
    tf.RandomGray(),
    tf.RandomApply(tf.RandomBrightness(0.5)),
    tf.RandomApply(tf.Compose(tf.RandomFlipLeftRight(), tf.RandomRotation(30)), 0.6),
]
FIXED = [
    tf.Resize(8),
    tf.Resize(8, keep_ratio=True),
    tf.Resize((20, 9), interpolation="bicubic"),
    tf.Resize(30, interpolation="nearest"),
    tf.CenterCrop((9, 8)),
    tf.CropResize(2, 3, 7, 9, 5),
    tf.Pad((1, 2, 3, 4), fill=9),
    tf.Rotate(33),
    tf.ToTensor(),
    tf.Cast(np.float16),
]
every = pytest.mark.parametrize("transform", RANDOM + FIXED, ids=lambda t: repr(t).replace("\n", "")[:50])
drawn = pytest.mark.parametrize("transform", RANDOM, ids=lambda t: repr(t).replace("\n", "")[:50])


@every
@pytest.mark.parametrize("images", [BYTES, FLOATS])
def test_inputs_are_left_alone_and_results_are_arrays_of_their_own(transform, images):
    before, given = images.copy(), images.copy()
    out = transform(given)
    np.testing.assert_array_equal(given, before)
    assert len(out) == 5 and out.ndim == 4
    if type(transform) is not tf.Cast:
        out[...] = 0
        np.testing.assert_array_equal(given, before)
    if not isinstance(transform, tf.ToTensor | tf.Cast):
        assert out.dtype == images.dtype


@every
def test_one_image_needs_no_batch_axis_and_no_image_makes_none(transform):
    with drawing.drawing([4]):
        alone = transform(BYTES[4])
    with drawing.drawing([4]):
        np.testing.assert_array_equal(transform(BYTES[4:])[0], alone)
    with drawing.drawing([]):
        assert transform(BYTES[:0]).shape == (0, *alone.shape)


@drawn
def test_draws_depend_on_seed_epoch_and_sample_and_on_nothing_else(transform):
    same = np.repeat(BYTES[:1], 40, 0)
    with drawing.drawing(np.arange(40), epoch=2, seed=1):
        whole = transform(same)
    assert len({image.tobytes() for image in whole}) > 1, "samples differ"
    order = RNG.permutation(40)
    with drawing.drawing(order, epoch=2, seed=1):
        np.testing.assert_array_equal(transform(same), whole[order])
    for i in (0, 17):
        with drawing.drawing([i], epoch=2, seed=1):
            np.testing.assert_array_equal(transform(same[:1])[0], whole[i])
    for other in ({"epoch": 3, "seed": 1}, {"epoch": 2, "seed": 2}):
        with drawing.drawing(np.arange(40), **other):
            assert (transform(same) != whole).any()
    before = random.state.seed
    try:
        random.state.seed = 99
        with drawing.drawing(np.arange(40), epoch=2, seed=1):
            assert (transform(same) != whole).any()
    finally:
        random.state.seed = before


def test_two_of_a_kind_draw_apart():
    x = np.zeros((200, 1, 1, 2), np.uint8)
    x[..., 1] = 1
    with drawing.drawing(np.arange(200)):
        once, twice = tf.RandomFlipLeftRight()(x), tf.Compose(tf.RandomFlipLeftRight(), tf.RandomFlipLeftRight())(x)
    for flips in (once, twice):
        share = (flips != x).any((1, 2, 3)).mean()
        assert abs(share - 0.5) < 5 * 0.5 / 200**0.5  # five standard deviations


def test_by_hand_calls_differ():
    flip = tf.RandomFlipLeftRight()
    x = np.arange(64).reshape(1, 1, 1, 64).repeat(64, 0)
    assert (flip(x) != flip(x)).any()


def test_a_wrong_number_of_images_is_an_error():
    with drawing.drawing([1, 2, 3]), pytest.raises(ValueError, match="got 5 images while 3 samples are read"):
        tf.RandomGray()(BYTES)


# ---- values


@pytest.mark.parametrize("size", [(8, 8), (30, 20), (17, 5), (1, 1)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_is_pillows(size, interpolation):
    image = pytest.importorskip("PIL.Image")
    method = {"bilinear": image.Resampling.BILINEAR, "bicubic": image.Resampling.BICUBIC}[interpolation]
    got = tf.resize(FLOATS, size, interpolation)
    for picture, result in zip(FLOATS[:, 0], got[:, 0], strict=True):
        wanted = np.asarray(image.fromarray(picture).resize(size[::-1], method))
        np.testing.assert_allclose(result, wanted, atol=2e-6)  # of values below 1, float32 both
    tame = BYTES[0] // 2 + 64  # no overshoot past 0 or 255, where Pillow cuts between its two passes
    exact = np.asarray(image.fromarray(np.moveaxis(tame, 0, -1)).resize(size[::-1], method))
    # Pillow rounds after each pass, to 1/2 each; the second pass may stretch the first's by the sum of its |weights|.
    assert np.abs(tf.resize(tame, size, interpolation) - np.moveaxis(exact, -1, 0).astype(int)).max() <= 2


def test_resize_without_antialias_by_hand():
    x = np.array([[[[0.0, 1.0, 2.0, 3.0]]]])
    # Centres at 0.5 and 2.5 of the old pixels: halfway between neighbours.
    np.testing.assert_allclose(tf.resize(x, (1, 2), antialias=False), [[[[0.5, 2.5]]]])
    np.testing.assert_allclose(tf.resize(x, (1, 8), antialias=False)[0, 0, 0, :3], [0, 0.25, 0.75])
    assert tf.resize(x, (1, 8), "nearest").tolist() == [[[[0, 0, 1, 1, 2, 2, 3, 3]]]]


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("old, new", [(13, 5), (5, 13), (7, 7), (1, 4), (4, 1)])
def test_weights_sum_to_one_and_keep_lines_straight_inside(old, new, interpolation, antialias):
    w = weights(old, new, interpolation, antialias)
    np.testing.assert_allclose(w.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(w, w[::-1, ::-1], atol=1e-12)  # mirrored images resize alike


@pytest.mark.parametrize("size, shape", [(8, (10, 8)), (26, (34, 26))])
def test_keep_ratio_gives_the_shorter_side(size, shape):
    assert tf.Resize(size, keep_ratio=True)(BYTES).shape == (5, 3, *shape)


def test_crops_are_parts():
    np.testing.assert_array_equal(tf.CenterCrop((9, 7))(BYTES), BYTES[:, :, 4:13, 3:10])
    np.testing.assert_array_equal(tf.CropResize(2, 3, 7, 9)(BYTES), BYTES[:, :, 3:12, 2:9])
    np.testing.assert_array_equal(tf.CropResize(2, 3, 7, 9, 4)(BYTES), tf.resize(BYTES[:, :, 3:12, 2:9], (4, 4)))
    places = set()
    x = np.arange(17 * 13).reshape(1, 1, 17, 13).repeat(400, 0)
    with drawing.drawing(np.arange(400)):
        for crop in tf.RandomCrop((15, 12))(x):
            top, left = divmod(int(crop[0, 0, 0]), 13)
            np.testing.assert_array_equal(crop[0], x[0, 0, top : top + 15, left : left + 12])
            places.add((top, left))
    assert places == {(top, left) for top in range(3) for left in range(2)}


def test_pad_takes_pillows_order_of_sides():
    out = tf.Pad((1, 2, 3, 4), fill=9)(BYTES)
    assert out.shape == (5, 3, 17 + 6, 13 + 4)
    np.testing.assert_array_equal(out[:, :, 2:-4, 1:-3], BYTES)
    assert (out[:, :, :2] == 9).all() and (out[..., -3:] == 9).all()
    np.testing.assert_array_equal(tf.Pad(2, mode="reflect")(BYTES)[0, 0, 2:-2, 1], BYTES[0, 0, :, 1])


def test_random_resized_crop_takes_boxes_within_bounds():
    crop = tf.RandomResizedCrop(8, scale=(0.2, 0.6), ratio=(0.5, 2))
    for draw in RNG.random((300, 10, 4)):
        top, left, h, w = crop._box(40, 60, draw)
        assert 0 <= top <= top + h <= 40 and 0 <= left <= left + w <= 60
        # Sides are rounded by half a pixel: by (h + w) / 2 + 1/4 in area.
        assert 0.2 * 2400 - (h + w) / 2 - 1 < h * w < 0.6 * 2400 + (h + w) / 2 + 1
    assert tf.RandomResizedCrop(8, scale=(5, 6))._box(40, 60, RNG.random((10, 4))) == (0, 3, 40, 53)  # 53/40 < 4/3


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_quarter_turns_are_exact(interpolation):
    square = BYTES[:, :, :13]
    for angle, turns in ((90, 1), (180, 2), (-90, 3), (360, 0)):
        got = tf.Rotate(angle, interpolation)(square)
        np.testing.assert_array_equal(got, np.rot90(square, turns, (2, 3)))


def test_rotation_is_pillows_away_from_the_border():
    image = pytest.importorskip("PIL.Image")
    y, x = np.mgrid[0:41, 0:41]
    smooth = (100 + 50 * np.sin(x / 9) * np.cos(y / 7)).astype(np.float32)
    wanted = np.asarray(image.fromarray(smooth).rotate(25, image.Resampling.BILINEAR))
    got = tf.Rotate(25)(smooth[None, None])[0, 0]
    np.testing.assert_allclose(got[10:30, 10:30], wanted[10:30, 10:30], atol=1e-3)
    assert tf.Rotate(45, fill=7)(smooth[None])[0, 0, 0] == 7


def test_erasing_overwrites_one_box():
    with drawing.drawing(np.arange(200)):
        out = tf.RandomErasing(0.5, value=[1, 2, 3])(np.zeros((200, 3, 20, 30)))
    erased = [image for image in out if image.any()]
    assert abs(len(erased) / 200 - 0.5) < 5 * 0.5 / 200**0.5
    for image in erased:
        rows, columns = np.flatnonzero(image[0].any(1)), np.flatnonzero(image[0].any(0))
        box = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == np.array([1, 2, 3])[:, None, None]).all() and box[0].size == np.count_nonzero(image[0])
    noise = tf.RandomErasing(1.0, scale=(0.3, 0.3), value="random")(np.zeros((50, 3, 20, 30), np.float32))
    values = noise[noise != 0]
    assert abs(values.mean()) < 5 / len(values) ** 0.5 and abs(values.std() - 1) < 5 / (2 * len(values)) ** 0.5


def test_colour_against_the_definitions():
    factor, x = np.full(5, 1.5)[:, None, None, None], FLOATS.astype(np.float64)
    grey = (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])[:, None]
    np.testing.assert_allclose(colour.brightness(x, factor), 1.5 * x)
    np.testing.assert_allclose(colour.saturation(x, factor), 1.5 * x - 0.5 * grey)
    np.testing.assert_allclose(colour.contrast(x, factor), 1.5 * x - 0.5 * grey.mean((2, 3), keepdims=True))
    np.testing.assert_allclose(colour.hue(x, np.zeros(5)), x, atol=1e-12)
    np.testing.assert_allclose(colour.hue(x, np.full(5, 2.0)), x, atol=1e-12)  # a whole turn
    turned = colour.hue(x, np.full(5, 0.7))
    np.testing.assert_allclose(np.tensordot(colour.GREY, turned, (0, 1)), grey[:, 0], atol=1e-12)
    assert colour.brightness(BYTES, factor).max() == 255, "integers are held within their range"


def test_jitter_of_nothing_is_nothing_and_orders_differ():
    np.testing.assert_array_equal(tf.ColorJitter()(BYTES), BYTES)
    fixed = tf.ColorJitter(brightness=(2, 2), contrast=(0.5, 0.5))
    with drawing.drawing(np.arange(40)):
        out = fixed(np.repeat(FLOATS[:1], 40, 0))
    assert len({np.round(image, 3).tobytes() for image in out}) == 1  # these two commute
    clipped = tf.ColorJitter(brightness=(2, 2), saturation=(0.3, 0.3), hue=(0.4, 0.4))
    with drawing.drawing(np.arange(40)):
        assert len({image.tobytes() for image in clipped(np.repeat(BYTES[:1], 40, 0))}) >= 1


def test_lighting_moves_all_pixels_of_a_channel_alike():
    with drawing.drawing(np.arange(5)):
        shift = tf.RandomLighting(0.3)(FLOATS) - FLOATS
    assert np.ptp(shift, axis=(2, 3)).max() < 1e-6 and np.ptp(shift, axis=0).min() > 0
    with drawing.drawing(np.arange(5)):
        of_bytes = tf.RandomLighting(0.3)(BYTES // 2 + 64) - (BYTES // 2 + 64.0)
    np.testing.assert_allclose(of_bytes.mean((2, 3)), 255 * shift.mean((2, 3)), atol=0.5)


def test_gray_has_equal_channels():
    with drawing.drawing(np.arange(5)):
        out = tf.RandomGray(1.0)(FLOATS)
    np.testing.assert_allclose(out, np.tensordot(colour.GREY, FLOATS, (0, 1))[:, None].repeat(3, 1), rtol=1e-5)


def test_to_tensor_moves_channels_and_scales_bytes():
    got = tf.ToTensor()(np.moveaxis(BYTES, 1, -1))
    np.testing.assert_array_equal(got, (BYTES / 255).astype(np.float32))
    assert tf.ToTensor()(FLOATS[0]).dtype == np.float32 and tf.ToTensor()(FLOATS[0]).shape == (13, 3, 17)
    with pytest.raises(TypeError, match=r"got int64; use ToFloat\(scale\)"):
        tf.ToTensor()(BYTES.astype(int))


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: tf.CenterCrop(18)(BYTES),
            ValueError,
            "images of 17x13 pixels are smaller than 18x18; put Resize or Pad",
        ),
        (lambda: tf.RandomCrop((17, 14))(BYTES), ValueError, "smaller than 17x14"),
        (lambda: tf.Resize(0), ValueError, "a size is a positive integer or"),
        (lambda: tf.Resize((8, 9), keep_ratio=True), ValueError, "takes one number"),
        (lambda: tf.Resize(8, interpolation="lanczos"), ValueError, "one of nearest, bilinear, bicubic"),
        (lambda: tf.Rotate(8, "bicubic"), ValueError, 'is "nearest" or "bilinear"'),
        (lambda: tf.Pad((1, 2, 3)), ValueError, "one, two or four numbers"),
        (lambda: tf.RandomGray(1.5), ValueError, "p is a probability, 0 to 1, got 1.5"),
        (lambda: tf.RandomBrightness(-1), ValueError, r"number >= 0 or an interval"),
        (
            lambda: tf.RandomHue(0.1)(BYTES[:, :1]),
            ValueError,
            r"needs RGB images, 3 channels, got shape \(5, 1, 17, 13\)",
        ),
        (lambda: tf.RandomErasing(value="noise"), ValueError, 'or "random"'),
        (lambda: tf.CenterCrop(3)(BYTES[0, 0]), ValueError, r"\(N, C, H, W\) or \(C, H, W\), got shape \(17, 13\)"),
        (lambda: tf.RandomApply(tf.CenterCrop(3), 1.0)(BYTES), ValueError, "do not fit beside unchanged ones"),
        (lambda: tf.RandomHorizontalFlip, AttributeError, "its name here is RandomFlipLeftRight"),
        (lambda: tf.Nothing, AttributeError, "no attribute 'Nothing'"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_transforms_show_how_they_were_made():
    assert repr(tf.Resize(8)) == "Resize(size=(8, 8), keep_ratio=False, interpolation='bilinear', antialias=True)"
    assert repr(tf.RandomApply(tf.RandomGray(), 0.3)) == "RandomApply(RandomGray(p=0.5), 0.3)"
    for name in tf.__all__:
        kind = getattr(tf, name)
        assert not inspect.isclass(kind) or kind.__doc__
