"""What comes out of protobuf messages: tensors, attributes, types. The only file that imports the package `onnx`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..ops.create import from_numpy
from ..tensor import Tensor

try:
    import onnx
    from onnx import AttributeProto, TensorProto, helper, numpy_helper
except ImportError as error:
    raise ImportError("ringtrain.onnx needs the package onnx: pip install 'ringtrain[onnx]'") from error

__all__ = ["array_of", "attribute", "dtype_of", "elem_type", "power_of_two", "read", "schema_of", "type_of", "value_of"]


def read(source: Any) -> Any:
    """A ModelProto from a path, bytes, or itself."""
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, bytes):
        return onnx.load_model_from_string(source)
    return onnx.load(os.fspath(source))


def array_of(proto: Any) -> np.ndarray:
    """A TensorProto as an array of its own, writable memory; small floats and integers in the dtypes of ml_dtypes."""
    return np.array(numpy_helper.to_array(proto))


def value_of(proto: Any) -> Any:
    """A TensorProto, SequenceProto or OptionalProto as a tensor, a list or None."""
    if isinstance(proto, TensorProto):
        return _wrapped(array_of(proto))
    if isinstance(proto, onnx.SequenceProto):
        return [_wrapped(np.asarray(x)) for x in numpy_helper.to_list(proto)]
    if isinstance(proto, onnx.OptionalProto):
        made: Any = numpy_helper.to_optional(proto)
        if made is None:
            return None
        return [_wrapped(np.asarray(x)) for x in made] if isinstance(made, list) else _wrapped(np.asarray(made))
    raise TypeError(f"a value of {type(proto).__name__} is none that ringtrain.onnx reads")


def _wrapped(array: np.ndarray) -> Tensor:
    if array.dtype.kind in "OSU":
        raise NotImplementedError("ringtrain.onnx: a tensor of strings; ringtrain's tensors hold numbers")
    return from_numpy(array)


def attribute(proto: Any) -> Any:
    """The value of an AttributeProto: a number, a str, a tensor, a list of those, or a proto (graphs and types)."""
    kind = proto.type
    if kind == AttributeProto.STRING:
        return proto.s.decode()
    if kind == AttributeProto.STRINGS:
        return [s.decode() for s in proto.strings]
    if kind == AttributeProto.TENSOR:
        return value_of(proto.t)
    if kind in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
        raise NotImplementedError(f"ringtrain.onnx: attribute {proto.name} is a sparse tensor")
    made = helper.get_attribute_value(proto)
    return list(made) if kind in (AttributeProto.INTS, AttributeProto.FLOATS) else made


def dtype_of(elem: int) -> np.dtype:
    """The dtype of a TensorProto.DataType."""
    if elem == TensorProto.STRING:
        raise NotImplementedError("ringtrain.onnx: a tensor of strings; ringtrain's tensors hold numbers")
    return np.dtype(helper.tensor_dtype_to_np_dtype(elem))


def elem_type(dtype: Any) -> int:
    """The TensorProto.DataType of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def type_of(value: Any) -> Any:
    """The TypeProto of a tensor, or of a list of tensors; an empty one for None."""
    if value is None:
        return onnx.TypeProto()
    if isinstance(value, list):
        inner = type_of(value[0]) if value else helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        return helper.make_sequence_type_proto(inner)
    return helper.make_tensor_type_proto(elem_type(value.dtype), value.shape)


def power_of_two(values: np.ndarray, saturate: bool, round_mode: str) -> np.ndarray:
    """float32 as float8_e8m0fnu, rounded "up", "down" or to the "nearest"."""
    made = numpy_helper.to_float8e8m0(values, saturate, round_mode)
    return made.astype(dtype_of(TensorProto.FLOAT8E8M0))


def schema_of(domain: str, name: str, version: int) -> Any:
    """ONNX's own schema of an op at an opset version; None where it has none."""
    try:
        return onnx.defs.get_schema(name, version, domain)
    except onnx.defs.SchemaError:
        return None
