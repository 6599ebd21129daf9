"""Each optimiser against its formulas, and against PyTorch where it is installed."""

import ml_dtypes
import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim
from ringtrain.backend import get
from ringtrain.optim.matrix import orthogonalize
from ringtrain.optim.stretch import apply

from . import references
from .conftest import SHAPES, STEPS, normal, parameters, set_gradients, values

# name -> (optimiser, formula, PyTorch's name for it or None, options)
CASES = {
    "sgd": (optim.SGD, references.sgd, "SGD", {"lr": 0.1}),
    "sgd momentum": (optim.SGD, references.sgd, "SGD", {"lr": 0.1, "momentum": 0.9}),
    "sgd nesterov": (optim.SGD, references.sgd, "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "sgd all": (
        *(optim.SGD, references.sgd, "SGD"),
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    ),
    "sgd nesterov decay": (
        *(optim.SGD, references.sgd, "SGD"),
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    ),
    "nag": (optim.NAG, references.nag, None, {"lr": 0.05, "weight_decay": 0.1}),
    "lars": (optim.LARS, references.lars, None, {"lr": 5.0}),
    "lars all": (
        *(optim.LARS, references.lars, None),
        {"lr": 2.0, "momentum": 0.8, "weight_decay": 0.1, "trust_coefficient": 0.02, "eps": 0.1},
    ),
    "lars without trust": (optim.LARS, references.lars, None, {"lr": 0.1, "trust_coefficient": 0.0}),
    "adam": (optim.Adam, references.adam, "Adam", {}),
    "adam all": (
        *(optim.Adam, references.adam, "Adam"),
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "amsgrad": (
        *(optim.Adam, references.adam, "Adam"),
        {"lr": 0.02, "betas": (0.7, 0.8), "weight_decay": 0.1, "amsgrad": True},
    ),
    "adamw": (optim.AdamW, references.adamw, "AdamW", {"lr": 0.05}),
    "adamw all": (
        *(optim.AdamW, references.adamw, "AdamW"),
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.2, "amsgrad": True},
    ),
    "adamax": (optim.Adamax, references.adamax, "Adamax", {}),
    "adamax all": (
        *(optim.Adamax, references.adamax, "Adamax"),
        {"lr": 0.02, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "nadam": (optim.NAdam, references.nadam, "NAdam", {}),
    "nadam all": (
        *(optim.NAdam, references.nadam, "NAdam"),
        {"lr": 0.02, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.1},
    ),
    "radam": (optim.RAdam, references.radam, "RAdam", {}),
    "radam all": (
        *(optim.RAdam, references.radam, "RAdam"),
        {"lr": 0.02, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "lamb": (optim.LAMB, references.lamb, None, {"lr": 0.01}),
    "lamb all": (
        *(optim.LAMB, references.lamb, None),
        {"lr": 0.02, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.1, "lower_bound": 1.0, "upper_bound": 3.0},
    ),
    "lamb as it is": (optim.LAMB, references.lamb, None, {"lr": 0.01, "bias_correction": False}),
    "rmsprop": (optim.RMSprop, references.rmsprop, "RMSprop", {}),
    "rmsprop centered": (optim.RMSprop, references.rmsprop, "RMSprop", {"alpha": 0.9, "centered": True}),
    "rmsprop momentum": (optim.RMSprop, references.rmsprop, "RMSprop", {"momentum": 0.5}),
    "rmsprop all": (
        *(optim.RMSprop, references.rmsprop, "RMSprop"),
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9, "centered": True},
    ),
    "adagrad": (optim.Adagrad, references.adagrad, "Adagrad", {}),
    "adagrad all": (
        *(optim.Adagrad, references.adagrad, "Adagrad"),
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "adadelta": (optim.Adadelta, references.adadelta, "Adadelta", {}),
    "adadelta all": (
        *(optim.Adadelta, references.adadelta, "Adadelta"),
        {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.1},
    ),
    "ftrl": (optim.Ftrl, references.ftrl, None, {}),
    "ftrl all": (optim.Ftrl, references.ftrl, None, {"lr": 0.5, "l1": 1.0, "beta": 0.3, "weight_decay": 0.1}),
    "lion": (optim.Lion, references.lion, None, {}),
    "lion all": (optim.Lion, references.lion, None, {"lr": 0.01, "betas": (0.7, 0.8), "weight_decay": 0.1}),
    "rprop": (optim.Rprop, references.rprop, "Rprop", {}),
    "rprop all": (optim.Rprop, references.rprop, "Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.01, 0.2)}),
    "adafactor": (optim.Adafactor, references.adafactor, "Adafactor", {}),
    "adafactor all": (
        *(optim.Adafactor, references.adafactor, "Adafactor"),
        {"lr": 0.1, "beta2_decay": -0.5, "eps": (0.5, 1e-2), "d": 1.5, "weight_decay": 0.1},
    ),
    "muon": (optim.Muon, references.muon, None, {"lr": 0.02}),
    "muon all": (
        *(optim.Muon, references.muon, None),
        {"lr": 0.02, "weight_decay": 0.2, "momentum": 0.8, "nesterov": False, "ns_steps": 3}
        | {"adjust_lr_fn": "match_rms_adamw", "betas": (0.7, 0.8)},
    ),
}
case = pytest.mark.parametrize("name", CASES)


def run(make, options, dtype, each=lambda optimizer, step: None):
    params = parameters(dtype)
    optimizer = make(params, **options)
    for step in range(STEPS):
        set_gradients(params, step)
        each(optimizer, step)
        optimizer.step()
    return values(params)


def by_formula(reference, options, dtype=np.float64):
    """In float64, from the values and gradients that a run in dtype starts from."""
    arrays = [v.astype(np.float64) for v in values(parameters(dtype))]
    states = [{} for _ in arrays]
    for step in range(STEPS):
        for i, a in enumerate(arrays):
            g = normal(a.shape, 100 + step, i).astype(dtype).astype(np.float64)
            arrays[i] = reference(a, g, states[i], step + 1, **options)
    return arrays


@case
@pytest.mark.parametrize("kernels", [True, False])
def test_float64_follows_the_formulas(name, kernels, request):
    if not kernels:
        request.getfixturevalue("without_kernels")
    make, reference, _, options = CASES[name]
    for got, exact in zip(run(make, options, np.float64), by_formula(reference, options), strict=True):
        # each of the 20 steps rounds some ten times; nothing here is badly conditioned
        np.testing.assert_allclose(got, exact, rtol=0, atol=STEPS * 100 * 2.0**-53 * 10)


@case
@pytest.mark.parametrize("kernels", [True, False])
def test_float32_follows_within_rounding(name, kernels, request):
    if not kernels:
        request.getfixturevalue("without_kernels")
    make, reference, _, options = CASES[name]
    for got, exact in zip(run(make, options, np.float32), by_formula(reference, options, np.float32), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, exact, rtol=0, atol=STEPS * 100 * 2.0**-24)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ["sgd all", "sgd nesterov", "adam all", "adamw all", "rmsprop all"])
def test_sixteen_bits(name, dtype):
    make, reference, _, options = CASES[name]
    unit = float(ml_dtypes.finfo(dtype).eps) / 2
    for got, exact in zip(run(make, options, dtype), by_formula(reference, options, dtype), strict=True):
        assert got.dtype == np.dtype(dtype)
        # a parameter of magnitude up to 3 is rounded at each step
        assert (np.abs(got.astype(np.float64) - exact) <= STEPS * 3 * unit).all()


@pytest.fixture
def torch():
    """With 64 bits for the scalars that it keeps, too."""
    found = pytest.importorskip("torch")
    found.set_default_dtype(found.float64)
    yield found
    found.set_default_dtype(found.float32)


def groups(params, lr):
    """Three groups, two with a rate of their own."""
    return [{"params": params[:2]}, {"params": params[2:4], "lr": lr / 2}, {"params": params[4:], "lr": lr / 3}]


def against_pytorch(torch, make, theirs, options, shapes):
    """The largest difference after STEPS steps, with several groups."""
    own = parameters(shapes=shapes)
    params = [torch.nn.Parameter(torch.from_numpy(np.array(v))) for v in values(own)]
    lr = options.get("lr", 0.01)
    mine, other = make(groups(own, lr), **options), getattr(torch.optim, theirs)(groups(params, lr), **options)
    for step in range(STEPS):
        set_gradients(own, step)
        for i, p in enumerate(params):
            p.grad = torch.from_numpy(np.array(normal(tuple(p.shape), 100 + step, i)))
        mine.step()
        other.step()
    return max(
        np.abs(got - want.detach().numpy()).max() for got, want in zip(values(own), params, strict=True) if got.size
    )


@pytest.mark.parametrize("name", [name for name, (_, _, theirs, _) in CASES.items() if theirs])
def test_pytorch_agrees(torch, name):
    make, _, theirs, options = CASES[name]
    shapes = [s for s in SHAPES if s != (0, 3)] if theirs == "Adafactor" else SHAPES  # which divides by their sizes
    assert against_pytorch(torch, make, theirs, options, shapes) <= STEPS * 100 * 2.0**-53 * 10


@pytest.mark.parametrize("name", ["NAdam", "RAdam"])
def test_pytorch_agrees_on_decoupled_decay(torch, name):
    options = {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}
    assert against_pytorch(torch, getattr(optim, name), name, options, SHAPES) <= STEPS * 100 * 2.0**-53 * 10


@pytest.mark.parametrize("also", [{}, {"adjust_lr_fn": "match_rms_adamw", "nesterov": False}])
def test_pytorchs_muon_agrees_to_its_bfloat16(torch, also):
    """Theirs iterates in bfloat16: at each step d is wrong by about a unit of it (2^-8), of 2 at most."""
    options = {"lr": 0.02, **also}
    shapes = [(13, 17), (17, 13), (5, 40), (3, 3), (1, 6)]
    assert against_pytorch(torch, optim.Muon, "Muon", options, shapes) <= STEPS * 0.02 * 2 * 2.0**-8


def test_defaults_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in sorted({make.__name__ for make, _, theirs, _ in CASES.values() if theirs}):
        own = getattr(optim, name)(parameters()).defaults
        theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).defaults
        same = own.items() <= theirs.items()
        assert same or name in ("SGD", "Rprop"), (name, own, theirs)


# --- rules: arrays and compiled loops ---------------------------------------------------------------------
EXACT = [name for name in CASES if not name.startswith(("lars", "lamb", "adafactor", "muon"))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXACT)
def test_the_compiled_loop_is_the_composed_form_bit_for_bit(name, dtype, monkeypatch):
    make, _, _, options = CASES[name]
    compiled = run(make, options, dtype)
    monkeypatch.setattr(get("cpu")[0], "kernel", lambda name: None, raising=False)
    for got, exact in zip(compiled, run(make, options, dtype), strict=True):
        assert got.dtype == exact.dtype
        np.testing.assert_array_equal(got, exact)


@pytest.mark.parametrize("name", CASES)
def test_maximize_climbs(name):
    make, _, _, options = CASES[name]
    up, down = parameters(), parameters()
    climbing, descending = make(up, **options, maximize=True), make(down, **options)
    for step in range(5):
        for i, (p, q) in enumerate(zip(up, down, strict=True)):
            g = normal(p.shape, 100 + step, i)
            p.grad, q.grad = g, -g
        climbing.step()
        descending.step()
    for got, exact in zip(values(up), values(down), strict=True):
        np.testing.assert_array_equal(got, exact)


def test_sgd_is_lars_without_trust_and_adam_is_lamb_with_a_ratio_of_one():
    sgd = run(optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}, np.float64)
    lars = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "trust_coefficient": 0.0}
    for got, exact in zip(run(optim.LARS, lars, np.float64), sgd, strict=True):
        np.testing.assert_array_equal(got, exact)
    zeros = [nn.Parameter(rt.from_numpy(np.zeros(s))) for s in SHAPES]  # a norm of 0: the ratio is 1
    twins = [nn.Parameter(rt.from_numpy(np.zeros(s))) for s in SHAPES]
    for params, optimizer in ((zeros, optim.LAMB(zeros, eps=1e-8)), (twins, optim.Adam(twins))):
        set_gradients(params, 0)
        optimizer.step()
    for got, exact in zip(values(zeros), values(twins), strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-14)


def test_no_slot_without_need():
    params = parameters()
    for make, slots in [
        (lambda: optim.SGD(params), set()),
        (lambda: optim.SGD(params, momentum=0.9), {"momentum_buffer"}),
        (lambda: optim.Adam(params), {"exp_avg", "exp_avg_sq"}),
        (lambda: optim.Adam(params, amsgrad=True), {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
        (lambda: optim.RMSprop(params), {"square_avg"}),
        (lambda: optim.RMSprop(params, centered=True), {"square_avg", "grad_avg"}),
    ]:
        (bucket,) = make().buckets
        assert set(bucket.state) == slots
    adafactor, muon = optim.Adafactor(params), optim.Muon(params)
    shapes = {slot: v.shape for slot, v in adafactor.state_dict()["state"][4].items() if slot != "step"}
    assert shapes == {"row_var": (1, 2, 1), "col_var": (1, 1, 3), "variance": (0,)}
    shapes = [muon.state_dict()["state"][i] for i in (0, 2)]
    assert [(s["momentum_buffer"].shape, s["exp_avg"].shape) for s in shapes] == [((13, 17), (0,)), ((0,), (5,))]


def test_a_momentum_that_is_switched_on_later_starts_from_nothing():
    params, twins = parameters(), parameters()
    sgd = optim.SGD(params, lr=0.1)
    set_gradients(params, 0)
    sgd.step()
    sgd.param_groups[0]["momentum"] = 0.9
    expected, v = values(params), 0.0
    for step in (1, 2):
        set_gradients(params, step)
        sgd.step()
        v = 0.9 * v + normal(twins[0].shape, 100 + step, 0)
        expected[0] = expected[0] - 0.1 * v
    np.testing.assert_allclose(values(params)[0], expected[0], rtol=0, atol=1e-14)


def test_muon_may_be_switched_off_and_on():
    params = parameters()
    muon = optim.Muon(params)
    for step, use in enumerate([True, False, False, True]):
        muon.param_groups[0]["use_muon"] = use
        set_gradients(params, step)
        muon.step()
        shape = muon.state_dict()["state"][0]["momentum_buffer"].shape
        assert shape == ((13, 17) if use else (0,))
    assert all(np.isfinite(v).all() for v in values(params))
    with pytest.raises(ValueError, match=r"3 parameters, but arrays of \[3, 2\]"):
        apply(lambda p, g, v: (p, v), np.zeros(3), np.zeros(3), [np.zeros(2)], ())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: optim.NAG(p, momentum=0.0), "NAG: nesterov needs a momentum"),
        (lambda p: optim.LARS(p, trust_coefficient=-1), "LARS: trust_coefficient must be a number >= 0"),
        (lambda p: optim.LAMB(p, lower_bound=-1), "LAMB: lower_bound must be"),
        (lambda p: optim.NAdam(p, momentum_decay=-1), "NAdam: momentum_decay must be"),
        (lambda p: optim.RAdam(p, betas=(1.0, 0.9)), r"RAdam: betas must lie in \[0, 1\)"),
        (lambda p: optim.Adagrad(p, initial_accumulator_value=-1), "Adagrad: initial_accumulator_value must be"),
        (lambda p: optim.Adadelta(p, rho=1.0), r"Adadelta: rho must lie in \[0, 1\)"),
        (lambda p: optim.Ftrl(p, lr=0), "Ftrl: lr must be above 0"),
        (lambda p: optim.Lion(p, betas=(0.9,)), "Lion: betas are two fractions"),
        (lambda p: optim.Rprop(p, etas=(1.2, 0.5)), "Rprop: etas are one number"),
        (lambda p: optim.Rprop(p, step_sizes=(1, 0.5)), "Rprop: step_sizes are the least"),
        (lambda p: optim.Adafactor(p, d=0.5), "Adafactor: d must be >= 1"),
        (lambda p: optim.Adafactor(p, beta2_decay=0.5), "Adafactor: beta2_decay must be <= 0"),
        (lambda p: optim.Adafactor(p, eps=(0.1, None)), "Adafactor: eps are two numbers"),
        (lambda p: optim.Muon(p, adjust_lr_fn="other"), "Muon: adjust_lr_fn is 'original'"),
        (lambda p: optim.Muon(p, momentum=1.0), r"Muon: momentum must lie in \[0, 1\)"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(parameters())


def test_orthogonalize():
    for shape in [(5, 9), (9, 5), (7, 7)]:
        x = orthogonalize(normal(shape, 3), (3.4445, -4.7750, 2.0315), 12, 1e-7)
        assert (np.abs(np.linalg.svd(x, compute_uv=False) - 1) < 0.35).all()


def test_muon_leaves_what_it_is_told_to_adamw():
    params, twins = parameters(), parameters()
    muon = optim.Muon([{"params": params, "use_muon": False}], lr=0.01)
    adamw = optim.AdamW(twins, lr=0.01, weight_decay=0.1)
    for step in range(3):
        set_gradients(params, step)
        set_gradients(twins, step)
        muon.step()
        adamw.step()
    for got, exact in zip(values(params), values(twins), strict=True):
        np.testing.assert_array_equal(got, exact)


def test_a_constant_gradient_keeps_a_centered_spread_from_turning_negative():
    params = parameters(np.float32, [(1000,)])
    optimizer = optim.RMSprop(params, alpha=0.5, centered=True)
    for _ in range(60):
        params[0].grad = (np.arange(1, 1001) / 7).astype(np.float32)
        optimizer.step()
    assert np.isfinite(values(params)[0]).all()
