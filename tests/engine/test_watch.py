"""Anomaly mode, the profiler, and that nothing of them is left when they are off."""

import inspect
import json
import re
import threading

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
from ringtrain.autograd import Node, Op
from ringtrain.ops import define
from ringtrain.ops.fused import Fused


def state():
    return Op.__call__, Fused.__call__, Node.vjp, nn.Module.__call__, define._ndarray


BEFORE = state()


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert state() == BEFORE


def leaf(*values):
    return rt.tensor(values, "f8", requires_grad=True)


def line():
    return inspect.currentframe().f_back.f_lineno


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
class TestAnomaly:
    def check(self, f, pattern):
        with pytest.raises(rt.AnomalyError, match=pattern), rt.detect_anomaly():
            f()

    @pytest.mark.cpu  # of its kernels
    def test_forward_names_op_line_tensor_and_shapes(self):
        def f():
            self.here = line() + 1
            rt.log(leaf(1.0, -1.0))

        self.check(f, r"nan in its result \(float64\[2\]\) of log, called at .*test_watch.py:\d+; inputs: float64\[2\]")
        with pytest.raises(rt.AnomalyError, match=rf"test_watch.py:{self.here};"), rt.detect_anomaly():
            f()
        self.check(lambda: leaf(1.0) / 0.0, "inf in its result .* of divide")
        self.check(lambda: 1.0 / leaf(1.0, 0.0), "inf in its result .* of divide")
        self.check(lambda: nn.relu(leaf(float("nan"))), "nan in its result .* of relu.*before it input 0 held nan")
        self.check(
            lambda: leaf(np.inf) - leaf(np.inf), "nan in its result .* of subtract.*input 0 held inf and input 1"
        )

    def test_backward_names_the_line_of_forward(self):
        def f():
            x = leaf(4.0, 0.0)
            self.here = line() + 1
            y = rt.sqrt(x)
            (y * 1.0).sum().backward()

        self.check(f, r"inf in the backward of sqrt, called at .*: the gradient of input 0 \(float64\[2\]\)")
        with pytest.raises(rt.AnomalyError, match=f"test_watch.py:{self.here}:"), rt.detect_anomaly():
            f()
        x = leaf(1.0)
        y = x * 2.0
        self.check(
            lambda: y.backward(rt.tensor([np.nan], "f8")), "backward of multiply, called at an unseen line.*came in"
        )

    def test_masked_scores_are_no_anomaly(self):
        q = rt.tensor(np.ones((1, 2, 3, 4)), "f8", requires_grad=True)
        with rt.detect_anomaly():
            nn.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
            rt.grad(nn.scaled_dot_product_attention(q, q, q, is_causal=True).sum(), q, create_graph=True)
            rt.where(np.array([True, False]), leaf(1.0, 2.0), -np.inf)

    @pytest.mark.cpu  # of its kernels
    def test_whole_modules_inside(self):
        """A fault deep in a layer is the line of the program that called the model."""
        model = nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2))
        model.layers[1].weight_hh_l0.data[:] = np.nan

        def f():
            self.here = line() + 1
            model(rt.ones((3, 1, 2)))

        self.check(f, "of rnn, called at .*input 4 held nan")
        with pytest.raises(rt.AnomalyError, match=f"test_watch.py:{self.here};"), rt.detect_anomaly():
            f()


def test_watched_ops_give_the_same():
    def run():
        x, y = leaf(0.5, 1.5), leaf(2.0)
        out = (rt.tanh(x) * y + 2.0 - 1.0 / x).sum() + nn.relu(x * -y).sum() + (np.ones(2) * x).sum()
        out.backward()
        return out.item(), x.grad.numpy(), y.grad.numpy()

    plain = run()
    with rt.detect_anomaly(), rt.profiler.profile():
        watched = run()
    for a, b in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(a, b)


class TestProfiler:
    def test_calls_and_times(self):
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        with rt.profiler.profile(net) as p:
            for _ in range(3):
                net(rt.ones((5, 3))).sum().backward()
        rows = {(r.kind, r.name): r for r in p.rows()}
        assert {k: r.calls for k, r in rows.items()} == {
            ("op", "linear"): 6,
            ("op", "tanh"): 3,
            ("op", "sum"): 3,
            ("backward", "linear"): 6,
            ("backward", "tanh"): 3,
            ("backward", "sum"): 3,
            ("module", "Sequential"): 3,
            ("module", "0"): 3,
            ("module", "1"): 3,
            ("module", "2"): 3,
        }
        whole, parts = rows["module", "Sequential"], [rows["module", str(k)] for k in range(3)]
        assert abs(whole.own - (whole.total - sum(r.total for r in parts))) < 1e-9
        assert all(0 < r.own <= r.total for r in rows.values())
        assert re.search(r"^linear +6 +[\d.]+ +[\d.]+ +[\d.]+%$", str(p), re.M)
        assert [r.own for r in p.rows()] == sorted((r.own for r in p.rows()), reverse=True)

    def test_shapes_and_trace(self, tmp_path):
        with rt.profiler.profile(shapes=True) as p:
            nn.Linear(3, 4)(rt.ones((5, 3)))
        assert [r.name for r in p.rows() if r.kind == "op"] == ["linear(float32[5, 3], float32[4, 3], float32[4])"]
        p.export_chrome_trace(tmp_path / "trace.json")
        events = {e["name"]: e for e in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
        outer, inner = events["Linear"], events["linear"]
        assert outer["ph"] == "X" and inner["cat"] == "op" and inner["args"]["shapes"].startswith("float32[5, 3]")
        assert outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]

    def test_an_error_and_other_threads(self):
        with rt.profiler.profile() as p:
            with pytest.raises(ValueError, match="matmul"):
                rt.matmul(rt.ones((2, 3)), rt.ones((2, 3)))
            worker = threading.Thread(target=lambda: rt.exp(rt.ones(3)))
            worker.start()
            worker.join()
        assert {r.name: r.calls for r in p.rows()} == {"matmul": 1, "exp": 1}
        assert len({e.thread for e in p._events}) == 2

    def test_two_at_once(self):
        with rt.profiler.profile() as a:
            rt.exp(rt.ones(3))
            with rt.profiler.profile() as b:
                nn.Tanh()(rt.ones(3))
        assert {r.name for r in a.rows()} == {"exp", "tanh", "Tanh"}
        assert {r.name for r in b.rows()} == {"tanh", "Tanh"}


def test_inference_leaves_no_graph():
    x = leaf(1.0)
    with rt.inference():
        y = x * 2
    assert not y.requires_grad
    (y * x).sum().backward()
    assert x.grad.item() == 2
