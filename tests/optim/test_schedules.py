"""Schedules against PyTorch's, step by step, and taken up again in the middle."""

import math

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn, optim
from ringtrain.optim import lr

RATES = (0.4, 0.1, 0.02)
STEPS = 50

SCHEDULES = {
    "step": ("StepLR", {"step_size": 7, "gamma": 0.5}),
    "multistep": ("MultiStepLR", {"milestones": [3, 11, 11, 30], "gamma": 0.3}),
    "exponential": ("ExponentialLR", {"gamma": 0.93}),
    "constant": ("ConstantLR", {}),
    "constant all": ("ConstantLR", {"factor": 0.2, "total_iters": 13}),
    "linear": ("LinearLR", {}),
    "linear all": ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 17}),
    "polynomial": ("PolynomialLR", {}),
    "polynomial all": ("PolynomialLR", {"total_iters": 23, "power": 1.7}),
    "cosine": ("CosineAnnealingLR", {"T_max": 13}),
    "cosine all": ("CosineAnnealingLR", {"T_max": 60, "eta_min": 0.003}),
    "restarts": ("CosineAnnealingWarmRestarts", {"T_0": 7}),
    "restarts all": ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2, "eta_min": 0.003}),
    "lambda": ("LambdaLR", {"lr_lambda": lambda n: 1 / (n + 1)}),
    "lambdas": ("LambdaLR", {"lr_lambda": [lambda n: 1 / (n + 1), lambda n: 0.9**n, lambda n: 2.0]}),
    "cyclic": ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 5}),
    "cyclic 2": (
        "CyclicLR",
        {"base_lr": [0.1, 0.2, 0.3], "max_lr": 0.5, "step_size_up": 5, "step_size_down": 8, "mode": "triangular2"},
    ),
    "cyclic exp": (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 4, "mode": "exp_range", "gamma": 0.97, "cycle_momentum": False},
    ),
    "cyclic by cycle": (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 4, "step_size_down": 3, "scale_fn": lambda n: 0.7 ** (n - 1)},
    ),
    "cyclic by step": (
        "CyclicLR",
        {
            "base_lr": 0.1,
            "max_lr": 0.5,
            "step_size_up": 4,
            "scale_fn": lambda n: 1 / (n + 1),
            "scale_mode": "iterations",
        },
    ),
    "multiplicative": ("MultiplicativeLR", {"lr_lambda": lambda n: 1 - 1 / (n + 1)}),
    "multiplicatives": ("MultiplicativeLR", {"lr_lambda": [lambda n: 0.95, lambda n: 1 + 0.1 / n, lambda n: 1.0]}),
    "one cycle": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 51}),
    "one cycle linear": (
        "OneCycleLR",
        {"max_lr": list(RATES), "epochs": 6, "steps_per_epoch": 9, "anneal_strategy": "linear", "pct_start": 0.4},
    ),
    "one cycle three": (
        "OneCycleLR",
        {"max_lr": 0.5, "total_steps": 51, "three_phase": True, "div_factor": 10.0, "final_div_factor": 100.0},
    ),
    "one cycle no rise": ("OneCycleLR", {"max_lr": 0.5, "total_steps": 51, "pct_start": 0.0}),
}


def sgd(*rates):
    return optim.SGD(
        [{"params": [nn.Parameter(rt.from_numpy(np.zeros(2)))], "lr": rate} for rate in rates], momentum=0.9
    )


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def theirs(torch, make=None, **options):
    make = make or torch.optim.SGD
    groups = [{"params": [torch.zeros(2, requires_grad=True)], "lr": rate} for rate in RATES]
    return make(groups, **(options or {"momentum": 0.9}))


def follow(own, other, my, their, steps=STEPS, key="momentum"):
    for _ in range(steps):
        for mine, its in zip(own.param_groups, other.param_groups, strict=True):
            # PyTorch multiplies its way forward: each step rounds a few times, divided by factors down to 1e-3
            assert mine["lr"] == pytest.approx(its["lr"], rel=1e-9, abs=1e-15)
            assert mine[key] == pytest.approx(its[key], rel=1e-12)
        other.step()
        my.step()
        their.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_pytorch_agrees(name):
    torch = pytest.importorskip("torch")
    kind, options = SCHEDULES[name]
    own, other = sgd(*RATES), theirs(torch)
    my, their = getattr(lr, kind)(own, **options), getattr(torch.optim.lr_scheduler, kind)(other, **options)
    follow(own, other, my, their)


@pytest.mark.parametrize("name", ["cyclic 2", "one cycle"])
def test_pytorch_agrees_on_betas(name):
    torch = pytest.importorskip("torch")
    kind, options = SCHEDULES[name]
    own = optim.Adam([{"params": [nn.Parameter(rt.from_numpy(np.zeros(2)))], "lr": rate} for rate in RATES])
    other = theirs(torch, torch.optim.Adam, betas=(0.9, 0.999))
    my, their = getattr(lr, kind)(own, **options), getattr(torch.optim.lr_scheduler, kind)(other, **options)
    follow(own, other, my, their, key="betas")


def test_pytorch_agrees_on_schedules_of_schedules():
    torch = pytest.importorskip("torch")
    for kind in ("SequentialLR", "ChainedScheduler"):
        own, other = sgd(*RATES), theirs(torch)
        made = []
        for optimizer, room in ((own, lr), (other, torch.optim.lr_scheduler)):
            parts = [room.LinearLR(optimizer, 0.1, total_iters=6), room.ExponentialLR(optimizer, 0.9)]
            if kind == "SequentialLR":
                parts.append(room.StepLR(optimizer, 4))
                made.append(room.SequentialLR(optimizer, parts, [9, 20]))
            else:
                made.append(room.ChainedScheduler(parts))
        follow(own, other, *made)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"mode": "max", "factor": 0.5, "patience": 1, "threshold": 0.2, "cooldown": 3},
        {"threshold_mode": "abs", "threshold": 0.3, "patience": 0, "min_lr": [0.1, 0.01, 0.0]},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 3, "eps": 0.01, "factor": 0.5},
    ],
)
def test_pytorch_agrees_on_plateaus(options):
    torch = pytest.importorskip("torch")
    own, other = sgd(*RATES), theirs(torch)
    my, their = lr.ReduceLROnPlateau(own, **options), torch.optim.lr_scheduler.ReduceLROnPlateau(other, **options)
    figures = np.random.default_rng(3).standard_normal(STEPS) + 2.0
    for n, figure in enumerate(figures):
        my.step(np.float32(figure))
        their.step(np.float32(figure))
        assert rates(own) == pytest.approx(rates(other), rel=1e-14)
        if n == 20:
            state, before = my.state_dict(), rates(own)
            own = sgd(*before)
            my = lr.ReduceLROnPlateau(own, **options)
            my.load_state_dict(state)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_made_after_loading_goes_on(name):
    kind, options = SCHEDULES[name]
    optimizer = sgd(*RATES)
    schedule = getattr(lr, kind)(optimizer, **options)
    for _ in range(13):
        schedule.step()
    state, saved = schedule.state_dict(), optimizer.state_dict()
    other = sgd(*RATES)
    other.load_state_dict(saved)  # its rates are those of step 13, which are not the base
    resumed = getattr(lr, kind)(other, **options)
    assert resumed.base == list(RATES)
    resumed.load_state_dict(state)
    for _ in range(20):
        assert rates(other) == rates(optimizer)
        schedule.step()
        resumed.step()


def test_rates_that_something_else_has_changed_are_told_and_not_undone():
    optimizer = sgd(0.8)
    first, second = lr.ExponentialLR(optimizer, 0.5), lr.StepLR(optimizer, 1, 0.1)
    first.step()
    with pytest.raises(RuntimeError, match=r"StepLR had set the rate of group 0 to 0.8, and something else to 0.4"):
        second.step()
    assert rates(optimizer) == [0.4] and second.last == 0
    optimizer.param_groups[0]["lr"] = 0.3
    with pytest.raises(RuntimeError, match=r"ExponentialLR had set the rate of group 0 to 0.4.*make it after"):
        first.step()
    together = lr.ChainedScheduler([first, second])
    together.step()
    assert rates(optimizer) == pytest.approx([0.04])


def test_an_optimiser_that_is_loaded_under_a_schedule_is_told():
    optimizer = sgd(0.8)
    schedule = lr.ExponentialLR(optimizer, 0.5)
    optimizer.load_state_dict(sgd(0.3).state_dict())  # saved without a schedule
    with pytest.raises(RuntimeError, match="after loading"):
        schedule.step()
    lr.ExponentialLR(optimizer, 0.5).step()
    assert rates(optimizer) == [0.15]


def test_warmup_of_any():
    optimizer = sgd(0.8)
    schedule = lr.Warmup(lr.StepLR(optimizer, 3, 0.5), steps=4)
    seen = []
    for _ in range(11):
        seen.append(rates(optimizer)[0])
        schedule.step()
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2])
    optimizer = sgd(0.8)
    schedule = lr.Warmup(lr.CosineAnnealingLR(optimizer, 10), steps=4, start=0.25)
    seen = []
    for _ in range(6):
        seen.append(rates(optimizer)[0])
        schedule.step()
    cosine = 0.4 * (1 + math.cos(math.pi / 10))
    assert seen == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8, cosine])
    both = lr.Warmup(lr.OneCycleLR(optimizer, 0.5, 10), steps=2)
    assert optimizer.param_groups[0]["momentum"] == 0.95
    both.step()
    assert rates(optimizer)[0] == pytest.approx(0.5 / 25)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda o: lr.StepLR(o, 0), ValueError, "StepLR: step_size must be a whole number >= 1; got 0"),
        (lambda o: lr.CosineAnnealingLR(o, 1.5), ValueError, "T_max must be a whole number"),
        (lambda o: lr.LinearLR(o, start_factor=2.0), ValueError, r"start_factor must lie in \[0, 1\]; got 2.0"),
        (lambda o: lr.LambdaLR(o, [lambda n: 1.0]), ValueError, "lr_lambda has 1 values for 2 groups"),
        (lambda o: lr.CyclicLR(o, 0.1, 0.2, mode="sine"), ValueError, "mode is 'triangular'"),
        (lambda o: lr.OneCycleLR(o, 0.1), ValueError, "wants total_steps, or epochs and steps_per_epoch"),
        (lambda o: lr.OneCycleLR(o, 0.1, 5, anneal_strategy="sine"), ValueError, "anneal_strategy is 'cos'"),
        (
            lambda o: lr.OneCycleLR(optim.Adagrad([nn.Parameter(rt.from_numpy(np.zeros(2)))]), 0.1, 5),
            ValueError,
            "cycle_momentum=Fal",
        ),
        (lambda o: lr.SequentialLR(o, [lr.StepLR(o, 1)], [3]), ValueError, "1 schedules want 0 milestones"),
        (lambda o: lr.ChainedScheduler([lr.StepLR(o, 1), lr.StepLR(sgd(0.1), 1)]), ValueError, "of one optimiser"),
        (lambda o: lr.ChainedScheduler([lr.ReduceLROnPlateau(o)]), TypeError, "a function of the step"),
        (lambda o: lr.ReduceLROnPlateau(o, "up"), ValueError, "mode is 'min' or 'max'"),
        (lambda o: lr.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor must lie"),
    ],
)
def test_bad_options_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make(sgd(0.1, 0.2))


def test_one_cycle_ends():
    schedule = lr.OneCycleLR(sgd(0.1), 0.1, 3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="step 4 is beyond the 3"):
        schedule.step()


def test_what_is_no_optimiser_is_told():
    with pytest.raises(TypeError, match="StepLR wants an optimiser; got list"):
        lr.StepLR([], 3)


def test_a_group_added_after_the_schedule_is_an_error():
    optimizer = sgd(0.1)
    schedule = lr.StepLR(optimizer, 3)
    optimizer.add_param_group({"params": [nn.Parameter(rt.from_numpy(np.zeros(3)))]})
    with pytest.raises(RuntimeError, match="add groups first"):
        schedule.step()
