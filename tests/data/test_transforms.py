import numpy as np
import pytest

from ringtrain.data.transforms import Compose, Flatten, Normalize, ToFloat

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 3, 5, 7), np.uint8)


def test_to_float_is_the_nearest_float32():
    every = np.arange(256, dtype=np.uint8)
    got = ToFloat()(every)
    assert got.dtype == np.float32 and got.min() == 0 and got.max() == 1
    np.testing.assert_array_equal(got, (every / 255).astype(np.float32))


@pytest.mark.parametrize("source", [np.uint8, np.int64, np.float64, np.float32, bool])
@pytest.mark.parametrize("target", [np.float16, np.float32, np.float64])
def test_to_float_takes_any_number_and_scale(source, target):
    x = np.array([0, 1, 16]).astype(source)
    got = ToFloat(16, dtype=target)(x)
    assert got.dtype == target
    np.testing.assert_array_equal(got, (x / 16).astype(target))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mean, std", [(0.1307, 0.3081), ([0.1, 0.2, 0.3], [0.5, 0.7, 0.9]), ([0.5], 2)])
def test_normalize_against_float64(dtype, mean, std):
    x = (PIXELS / 255).astype(dtype)[::2]
    got = Normalize(mean, std)(x)
    exact = (x.astype(np.float64) - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    assert got.dtype == dtype and got.shape == x.shape
    # Roundings to half an eps: of the mean (below 1) and of the difference (at most 1), which std divides; of
    # std and of the quotient (below 1 / std). In float64 the reference rounds as often.
    assert np.abs(got - exact).max() <= (2 + 2) * np.finfo(dtype).eps / np.min(std)


def test_normalize_each_channel_of_vectors():
    got = Normalize([1, 2], [1, 4])(np.array([[1.0, 6.0], [3.0, 2.0]]))
    assert got.tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize("shape, flat", [((13, 3, 5, 7), (13, 105)), ((4,), (4, 1)), ((0, 2, 3), (0, 6))])
def test_flatten(shape, flat):
    x = np.arange(np.prod(shape)).reshape(shape)
    assert Flatten()(x).shape == flat
    np.testing.assert_array_equal(Flatten()(x).ravel(), x.ravel())


def test_compose_applies_in_order():
    both = Compose(ToFloat(), Normalize(0.5, 0.25), Flatten())
    assert both(PIXELS).shape == (13, 105)
    np.testing.assert_allclose(both(PIXELS), ((PIXELS / 255 - 0.5) / 0.25).reshape(13, -1), atol=1e-6)
    assert Compose()(PIXELS) is PIXELS


def test_no_transform_changes_its_input():
    for transform, x in [
        (ToFloat(), PIXELS.copy()),
        (Normalize(1, 2), np.ones((2, 3))),
        (ToFloat(1), np.ones(3, np.float32)),
    ]:
        before = x.copy()
        transform(x)[...] = 7
        np.testing.assert_array_equal(x, before)


def test_transforms_show_what_they_do():
    shown = repr(Compose(ToFloat(16), Normalize([0.5], 0.25), Flatten()))
    assert shown == "Compose(ToFloat(16, float32), Normalize([0.5], 0.25), Flatten())"


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: ToFloat(0), ValueError, "scale must be positive, got 0"),
        (lambda: ToFloat(float("nan")), ValueError, "scale must be positive"),
        (lambda: ToFloat(dtype=int), TypeError, "got dtype int64"),
        (lambda: Normalize(0, 0), ValueError, "std must be positive, got 0"),
        (lambda: Normalize(0, [1, -1]), ValueError, "std must be positive"),
        (lambda: Normalize([[0]], 1), ValueError, r"one number a channel, got shapes \(1, 1\)"),
        (lambda: Compose([ToFloat()]), TypeError, r"one by one, as in Compose\(f, g\)"),
        (lambda: Normalize(0, 1)(PIXELS), TypeError, "got uint8; put ToFloat before it"),
        (lambda: Normalize([0, 1], 1)(PIXELS / 1), ValueError, r"2 channels, x has shape \(13, 3, 5, 7\)"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
