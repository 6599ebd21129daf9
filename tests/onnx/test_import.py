"""Imported models: weights that train, checks of what goes in, functions, control flow, what is missing."""

import subprocess
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import ringtrain as rt  # noqa: E402

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, weights=(), opset=21, functions=(), domains=()):
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in dict(weights).items()]
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    onnx.checker.check_model(made)
    return made


def mlp(rng, hidden=17, classes=3):
    weights = {
        "fc1.weight": rng.standard_normal((hidden, 5), np.float32) * 0.5,
        "fc1.bias": np.zeros(hidden, np.float32),
        "mean": np.full(hidden, 0.1, np.float32),
        "var": np.full(hidden, 0.9, np.float32),
        "scale": np.ones(hidden, np.float32),
        "shift": np.zeros(hidden, np.float32),
        "fc2.weight": rng.standard_normal((hidden, classes), np.float32) * 0.5,
        "half": np.array(0.5, np.float32),
        "shape": np.array([0, -1], np.int64),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["a"], transB=1),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "fc2.weight"], ["d"]),
        helper.make_node("Mul", ["d", "half"], ["e"]),
        helper.make_node("Reshape", ["e", "shape"], ["y"]),
    ]
    return model(nodes, [value("x", ["n", 5])], [value("y", ["n", classes])], weights), weights


def test_an_imported_network_computes_and_learns(tmp_path):
    rng = np.random.default_rng(0)
    proto, w = mlp(rng)
    onnx.save(proto, tmp_path / "mlp.onnx")
    net = rt.onnx.load(tmp_path / "mlp.onnx")
    x, labels = rng.standard_normal((13, 5), np.float32), rng.integers(0, 3, 13)
    hidden = (x @ w["fc1.weight"].T - 0.1) / np.sqrt(0.9 + 1e-5)
    np.testing.assert_allclose(
        net(x).detach().numpy(), np.maximum(hidden, 0) @ w["fc2.weight"] * 0.5, rtol=1e-5, atol=1e-6
    )

    names = [n for n, _ in net.named_parameters()]
    assert names == ["fc1.weight", "fc1.bias", "scale", "shift", "fc2.weight"]
    assert {n for n, _ in net.named_buffers()} == {"mean", "var", "half", "shape"}
    opt = rt.optim.SGD(net.parameters(), lr=0.5)
    losses = []
    for _ in range(30):
        loss = rt.nn.cross_entropy(net(x), rt.tensor(labels))
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[1] < losses[0] and losses[-1] < 0.5 * losses[0]
    assert not np.array_equal(net.state_dict()["fc1.weight"], w["fc1.weight"])
    assert np.array_equal(net.state_dict()["mean"], w["mean"])

    other = rt.onnx.load(proto.SerializeToString())
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other(x).detach().numpy(), net(x).detach().numpy())


def test_gradients_reach_through_every_kind_of_layer():
    """Convolution, pooling, norms, attention by its definition, an LSTM: the gradient is that of finite differences."""
    rng = np.random.default_rng(1)
    weights = {
        "k": rng.standard_normal((4, 2, 3, 3)),
        "g": rng.standard_normal(4),
        "h": rng.standard_normal(4),
        "W": rng.standard_normal((1, 20, 6)) * 0.3,
        "R": rng.standard_normal((1, 20, 5)) * 0.3,
    }
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], auto_pad="SAME_UPPER"),
        helper.make_node("InstanceNormalization", ["a", "g", "h"], ["b"]),
        helper.make_node("AveragePool", ["b"], ["c"], kernel_shape=[3, 2], pads=[1, 0, 0, 0], strides=[1, 2]),
        helper.make_node("Attention", ["c", "c", "c"], ["d"]),
        helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([6, 1, 6]))),
        helper.make_node("Reshape", ["d", "s"], ["e"]),
        helper.make_node("LSTM", ["e", "W", "R"], ["y", "", ""], hidden_size=5),
    ]
    double = TensorProto.DOUBLE
    proto = model(nodes, [value("x", [1, 2, 4, 6], double)], [value("y", ["t", 1, 1, 5], double)], weights, opset=23)
    net = rt.onnx.load(proto)
    x = rng.standard_normal((1, 2, 4, 6))
    for name, p in net.named_parameters():
        net.zero_grad()
        rt.sum(rt.square(net(x))).backward()
        direction = rng.standard_normal(p.shape)
        step, start = 1e-6, p.detach().numpy().copy()
        ends = []
        for sign in (1, -1):
            with rt.no_grad():
                p[...] = start + sign * step * direction
            ends.append(rt.sum(rt.square(net(x))).item())
        with rt.no_grad():
            p[...] = start
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(p.grad.numpy() * direction), slope, rtol=1e-5, err_msg=name)


def test_inputs_are_checked_by_name_dtype_and_shape():
    net = rt.onnx.load(mlp(np.random.default_rng(0))[0])
    assert net.inputs == ["x"] and net.outputs == ["y"]
    x = np.zeros((2, 5), np.float32)
    np.testing.assert_array_equal(net(x=x).detach().numpy(), net(rt.tensor(x)).detach().numpy())
    with pytest.raises(TypeError, match=r"'x' is float32; got float64\[2, 5\]"):
        net(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"'x' has shape \(n, 5\); got float32\[2, 4\]"):
        net(np.zeros((2, 4), np.float32))
    with pytest.raises(TypeError, match="has 1 inputs"):
        net(x, x)
    with pytest.raises(TypeError, match=r"missing: \['x'\], unknown or twice: \['z'\]"):
        net(z=x)


def test_an_error_names_the_node():
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"], name="product")]
    net = rt.onnx.load(model(nodes, [value("x", ["n", "m"])], [value("y", ["n", "k"])]))
    with pytest.raises(ValueError) as caught:
        net(np.zeros((2, 3), np.float32))
    assert "MatMul 'product' of float32[2, 3], float32[2, 3]" in caught.value.__notes__[0]


def test_all_that_is_missing_is_said_at_once_and_nothing_is_ignored():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    proto = model(nodes, [value("x", [3]), value("s", [])], [value("y", [3])])
    with pytest.raises(NotImplementedError, match=r"DequantizeLinear \(opset 21\)\n  QuantizeLinear \(opset 21\)"):
        rt.onnx.load(proto)
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("ceiling", 6.0))
    graph = helper.make_graph([node], "g", [value("x", [3])], [value("y", [3])])
    with pytest.raises(NotImplementedError, match="Relu with ceiling"):
        rt.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [value("x", [3])], [value("y", [3])])
    with pytest.raises(ValueError, match="values that nothing makes: w"):
        rt.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


def test_a_meaning_is_that_of_the_models_opset():
    """Softmax was over all axes from `axis` on, as one, until opset 13."""
    x = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float32)
    for opset, axes in ((11, (1, 2)), (13, (1,))):
        node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
        y = rt.onnx.load(model([node], [value("x", [2, 3, 4])], [value("y", [2, 3, 4])], opset=opset))(x).numpy()
        e = np.exp(x)
        np.testing.assert_allclose(y, e / e.sum(axis=axes, keepdims=True), rtol=1e-5)


def test_before_opset_7_an_attribute_says_how_operands_broadcast():
    x, b = np.zeros((2, 3, 4), np.float32), np.arange(3, dtype=np.float32)
    for attributes in ({"broadcast": 1, "axis": 1}, {}):
        node = helper.make_node("Add", ["x", "b"], ["y"], **attributes)
        graph = helper.make_graph([node], "g", [value("x", [2, 3, 4]), value("b", [3])], [value("y", [2, 3, 4])])
        net = rt.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)]))
        if attributes:
            np.testing.assert_array_equal(net(x, b).numpy(), np.broadcast_to(b[:, None], x.shape))
        else:
            with pytest.raises(ValueError, match="does not broadcast"):
                net(x, b)
    node = helper.make_node("Tile", ["x", "b", "b"], ["y"])
    graph = helper.make_graph([node], "g", [value("x", [3]), value("b", [])], [value("y", [3])])
    with pytest.raises(NotImplementedError, match=r"Tile \(opset 5\)"):  # redefined in opset 6
        rt.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 5)]))


def test_a_models_own_functions_and_graphs_that_see_outside():
    """y = f(x, slope) twice in a loop whose body reads x and a weight from around it."""
    f = helper.make_function(
        "own", "Affine", ["x", "w"], ["y"],
        [
            helper.make_node("Constant", [], ["c"]),
            helper.make_node("Mul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["m", "c"], ["y"]),
        ],
        [helper.make_opsetid("", 21)], ["offset"],
    )  # fmt: skip
    reference = f.node[0].attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "value_float", "offset", onnx.AttributeProto.FLOAT
    body = helper.make_graph(
        [
            helper.make_node("Affine", ["state", "w"], ["next"], domain="own", offset=2.0),
            helper.make_node("Add", ["next", "x"], ["seen"]),
            helper.make_node("Identity", ["going"], ["goes"]),
        ],
        "body",
        [value("i", [], INT64), value("going", [], TensorProto.BOOL), value("state", [3])],
        [value("goes", [], TensorProto.BOOL), value("next", [3]), value("seen", [3])],
    )
    nodes = [helper.make_node("Loop", ["times", "", "x"], ["last", "all"], body=body)]
    weights = {"w": np.array([2, 3, 4], np.float32), "times": np.array(2)}
    outputs = [value("last", [3]), value("all", ["n", 3])]
    net = rt.onnx.load(model(nodes, [value("x", [3])], outputs, weights, functions=[f], domains=["own"]))
    x = np.array([1, -1, 0.5], np.float32)
    last, seen = net(x)
    once = x * weights["w"] + 2
    twice = once * weights["w"] + 2
    np.testing.assert_allclose(last.detach().numpy(), twice)
    np.testing.assert_allclose(seen.detach().numpy(), [once + x, twice + x])
    rt.sum(last).backward()
    (w,) = net.parameters()
    np.testing.assert_allclose(w.grad.numpy(), 2 * x * weights["w"] + 2)  # of x w^2 + 2 w + 2


def test_dropout_in_training_drops_at_the_rate_that_the_model_says():
    weights = {"ratio": np.array(0.25, np.float32), "on": np.array(True)}
    nodes = [helper.make_node("Dropout", ["x", "ratio", "on"], ["y", "mask"])]
    outputs = [value("y", ["n"]), value("mask", ["n"], TensorProto.BOOL)]
    rt.seed(3)
    y, mask = rt.onnx.load(model(nodes, [value("x", ["n"])], outputs, weights))(np.ones(10_000, np.float32))
    np.testing.assert_allclose(y.numpy(), mask.numpy() / np.float32(0.75), rtol=1e-6)
    assert abs(mask.numpy().mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 10_000)


def test_scatter_by_a_product_has_a_gradient():
    nodes = [helper.make_node("ScatterElements", ["w", "i", "u"], ["y"], reduction="mul")]
    weights = {"w": np.array([2, 0, 5], np.float32)}
    inputs = [value("i", [3], INT64), value("u", [3])]
    net = rt.onnx.load(model(nodes, inputs, [value("y", [3])], weights))
    out = net(np.array([0, 1, 0]), np.array([3, 4, 7], np.float32))
    assert out.detach().numpy().tolist() == [42, 0, 5]
    out.sum().backward()
    assert [p.grad.numpy().tolist() for p in net.parameters()] == [[21, 4, 1]]


def test_the_package_onnx_is_imported_at_the_first_load_only():
    code = "import sys, ringtrain as rt; assert 'onnx' not in sys.modules; rt.onnx.load"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import sys; sys.modules['onnx'] = None\nimport ringtrain as rt\n"
        "try: rt.onnx.load('x.onnx')\nexcept ImportError as e: assert 'ringtrain[onnx]' in str(e)\n"
        "else: raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
