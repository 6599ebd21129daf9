import numpy as np
import pytest

from ringtrain.data import ArrayDataset, Dataset, Subset
from ringtrain.data.dataset import gather, take


class Squares(Dataset):
    """Sample i is (float vector, Python float, int)."""

    def __len__(self):
        return 17

    def __getitem__(self, index):
        return np.full(3, index, np.float16), index / 2, index * index


def test_array_dataset_takes_rows_in_any_order_from_non_contiguous_arrays():
    x = np.arange(13 * 6).reshape(6, 13).T[:, ::2]
    y = np.arange(26)[::2]
    got_x, got_y = ArrayDataset(x, y).take([12, 0, 5, 5])
    np.testing.assert_array_equal(got_x, x[[12, 0, 5, 5]])
    np.testing.assert_array_equal(got_y, [24, 0, 10, 10])


def test_array_dataset_returns_copies():
    x = np.arange(5)
    ArrayDataset(x).take([1, 2])[0][:] = 99
    np.testing.assert_array_equal(x, np.arange(5))


def test_one_sample_has_no_batch_axis_and_passes_the_transform_as_a_batch_of_one():
    shapes = []

    def transform(x):
        shapes.append(x.shape)
        return x.reshape(len(x), -1) + 0.5

    x, y = ArrayDataset(np.arange(24).reshape(4, 2, 3), np.arange(4), transform=transform)[-1]
    assert shapes == [(1, 2, 3)]
    np.testing.assert_array_equal(x, np.arange(18, 24) + 0.5)
    assert y == 3


def test_empty_batch_of_an_array_dataset_keeps_the_shape_of_a_sample():
    x, y = ArrayDataset(np.zeros((5, 2, 3)), np.zeros(5, int)).take([])
    assert x.shape == (0, 2, 3) and y.shape == (0,)


def test_labels_are_the_last_integer_vector():
    x, y = np.zeros((4, 2)), np.array([3, 1, 2, 0])
    np.testing.assert_array_equal(ArrayDataset(x, y).labels, y)
    assert ArrayDataset(y).labels is None
    assert ArrayDataset(x, y / 2).labels is None
    assert ArrayDataset(x, y[:, None]).labels is None


@pytest.mark.parametrize(
    "arrays, message",
    [
        ((), "at least one array"),
        ((np.zeros((4, 2)), np.zeros(3)), r"same length.*\(4, 2\).*\(3,\)"),
        ((np.zeros(4), 1.0), r"first axis of samples.*\(\)"),
    ],
)
def test_array_dataset_refuses_arrays_that_do_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(*arrays)


@pytest.mark.parametrize("indices", [[0.5], [True, False, True], [[0, 1]], slice(2)])
def test_indices_must_be_whole_numbers(indices):
    with pytest.raises(TypeError, match="sequence of integers"):
        ArrayDataset(np.arange(3)).take(indices)


def test_index_out_of_range_is_an_error():
    with pytest.raises(IndexError, match="17"):
        ArrayDataset(np.arange(3)).take([0, 17])


def test_default_take_stacks_and_makes_python_floats_float32():
    x, half, square = Squares().take([3, 16])
    np.testing.assert_array_equal(x, [[3] * 3, [16] * 3])
    assert x.dtype == np.float16
    assert half.dtype == np.float32 and half.tolist() == [1.5, 8]
    assert square.dtype.kind == "i" and square.tolist() == [9, 256]


def test_numpy_doubles_stay_doubles():
    (values,) = gather([np.float64(0.1), np.float64(0.2)], [1, 0])
    assert values.dtype == np.float64 and values.tolist() == [0.2, 0.1]


def test_a_list_of_samples_is_a_data_set_and_an_array_is_not_asked_for_its_own_take():
    x, y = take([(np.array([1, 2]), 3), (np.array([4, 5]), 6)], [1, 0])
    assert x.tolist() == [[4, 5], [1, 2]] and y.tolist() == [6, 3]
    (rows,) = take(np.arange(6).reshape(3, 2), [2, 0])
    assert rows.tolist() == [[4, 5], [0, 1]]


@pytest.mark.parametrize(
    "samples",
    [
        [np.zeros(3), np.zeros(3), np.zeros(4)],
        [(1, 2), (3, 4), (5,)],
    ],
)
def test_samples_that_do_not_stack_are_named(samples):
    with pytest.raises(ValueError, match=r"different shapes: sample 1 has .*, sample 2 has"):
        gather(samples, [1, 0, 2])


def test_gather_of_nothing_says_why_not():
    with pytest.raises(ValueError, match=r"Squares: no indices.*override take"):
        Squares().take([])


def test_subset_of_a_subset():
    inner = Subset(ArrayDataset(np.arange(20) * 10, np.arange(20)), [9, 7, 5, 3])
    outer = Subset(inner, [3, 0, 0])
    assert len(outer) == 3
    x, y = outer.take([0, 1, 2])
    assert x.tolist() == [30, 90, 90] and y.tolist() == [3, 9, 9] == outer.labels.tolist()
    assert outer[1] == (90, 9)


def test_subset_of_a_plain_list():
    assert Subset([1, 4, 9], [2, 1]).take([0, 1])[0].tolist() == [9, 4]
    assert Subset([1, 4, 9], [2, 1]).labels is None


@pytest.mark.parametrize("index", [-1, 5])
def test_subset_refuses_indices_outside(index):
    with pytest.raises(IndexError, match=rf"1 of 2 indices lie outside the data set of 5 .* {index}$"):
        Subset(ArrayDataset(np.arange(5)), [0, index])


def test_a_data_set_without_methods_says_which_are_missing():
    with pytest.raises(NotImplementedError, match="__len__"):
        len(Dataset())
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]
