"""The table of operators against ONNX's own schemas: every handler has the attributes and defaults that ONNX says."""

import inspect

import pytest

onnx = pytest.importorskip("onnx")

from ringtrain.onnx.proto import attribute  # noqa: E402
from ringtrain.onnx.registry import table  # noqa: E402

# Attributes that no handler takes, so that a model which sets one is refused
REFUSED = {
    "consumed_inputs",  # opset 1: a hint to reuse memory
    "sparse_value",  # Constant: a sparse tensor
    "value_string", "value_strings",  # Constant: tensors hold numbers
}  # fmt: skip
# Attributes whose default, or whose absence, a handler writes in another way
OTHERWISE = {
    ("Clip", "min"), ("Clip", "max"),  # none, for the ends of float32
    ("Constant", "value"),  # required before opset 12, then one of several
    ("GridSample", "mode"),  # "bilinear" was renamed "linear"
    ("RNN", "activations"),  # Tanh for each direction
    ("Unsqueeze", "axes"),  # an input from opset 13 on
}  # fmt: skip

ROWS = [(domain, name, i) for (domain, name), entries in sorted(table().items()) for i in range(len(entries))]


def schemas(domain, name, entry, entries):
    """The schemas that a row holds for: from its opset version to the next row's."""
    end = min((e.since for e in entries if e.since > entry.since), default=10**6)
    versions = {
        s.since_version: s for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == (domain, name)
    }
    held = [v for v in versions if entry.since <= v < end]
    before = [v for v in versions if v <= entry.since]
    return [versions[v] for v in sorted({*held, *([max(before)] if before else [])})]


@pytest.mark.parametrize("domain, name, row", ROWS, ids=lambda v: str(v))
def test_a_handler_has_onnx_attributes_and_defaults(domain, name, row):
    entries = table()[domain, name]
    entry = entries[row]
    taken = {p.name: p.default for p in inspect.signature(entry.fn).parameters.values() if p.kind is p.KEYWORD_ONLY}
    known = {"n_outputs", "version"}
    for schema in schemas(domain, name, entry, entries):
        known |= schema.attributes.keys()
        for key, a in schema.attributes.items():
            if key not in taken:
                assert key in REFUSED, f"{name} {schema.since_version} has an attribute {key}"
            elif (name, key) in OTHERWISE:
                continue
            elif a.default_value.name:
                assert taken[key] == pytest.approx(attribute(a.default_value)), (name, schema.since_version, key)
            elif a.required:
                assert taken[key] is inspect.Parameter.empty, (name, schema.since_version, key)
    assert taken.keys() <= known, f"{name} takes attributes that ONNX does not know"
