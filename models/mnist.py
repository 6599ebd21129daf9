"""Trains a classifier of handwritten digits or of Fashion-MNIST on any number of ranks.

    python models/mnist.py                                   one process, the data set that comes with the package
    ringtrain run -n 2 models/mnist.py --data mnist --root DIR --model cnn --epochs 10

Every rank reads its own part of each epoch, gradients are averaged while backward runs, and metrics are summed over
the ranks. Rank 0 prints and writes.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ringtrain as rt
from ringtrain import nn
from ringtrain.data import transforms

DATASETS = {"digits": rt.data.Digits, "mnist": rt.data.MNIST, "fashion-mnist": rt.data.FashionMNIST}
DEFAULTS = {  # what is taken where the command line says nothing
    "digits": {"epochs": 30, "batch_size": 32, "lr": 3e-3},
    "mnist": {"epochs": 10, "batch_size": 128, "lr": 2e-3},
    "fashion-mnist": {"epochs": 10, "batch_size": 128, "lr": 1e-3},
}
CHECKPOINT = "latest.safetensors"


def mlp(side: int) -> nn.Module:
    """side^2 - 128 - 128 - 10."""
    return nn.Sequential(
        *[nn.Flatten(), nn.Linear(side * side, 128), nn.ReLU()],
        *[nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)],
    )


def cnn(side: int) -> nn.Module:
    """Two convolutions of stride 2 and two dense layers; 315,146 parameters on 28 x 28."""
    last = ((side - 3) // 2 + 1 - 3) // 2 + 1
    return nn.Sequential(
        *[nn.Conv2d(1, 32, 3, stride=2), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2), nn.ReLU(), nn.Flatten()],
        *[nn.Linear(64 * last * last, 128), nn.ReLU(), nn.Linear(128, 10)],
    )


def lenet(side: int) -> nn.Module:
    """Two 5 x 5 convolutions with pooling, dense 512 and 10 (after LeCun et al. 1998)."""
    last = side // 2 // 2
    return nn.Sequential(
        *[nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()],
        *[nn.Linear(64 * last * last, 512), nn.ReLU(), nn.Linear(512, 10)],
    )


MODELS = {"mlp": mlp, "cnn": cnn, "lenet": lenet}


class Parser(argparse.ArgumentParser):
    """Every rank reads the same command line: one speaks for all."""

    def error(self, message: str) -> Any:
        if rt.rank() == 0:
            super().error(message)
        raise SystemExit(2)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Train a classifier of digits or of Fashion-MNIST.")
    parser.add_argument("--data", choices=DATASETS, default="digits", help="default: digits, which is built in")
    parser.add_argument("--root", help="folder with the files of MNIST or Fashion-MNIST (default: $RINGTRAIN_DATA)")
    parser.add_argument("--model", choices=MODELS, default="cnn")
    parser.add_argument("--epochs", type=positive, help="default: 10; digits 30")
    parser.add_argument("--batch-size", type=positive, help="images a rank and step (default: 128; digits 32)")
    parser.add_argument(
        "--lr", type=rate, help="Adam's rate after warm-up (default: 0.002; digits 0.003, fashion-mnist 0.001)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", metavar="DIR", help=f"write DIR/{CHECKPOINT} after each epoch")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR, if there is one")
    parser.add_argument("--json", metavar="FILE", help="write the figures of every epoch")
    args = parser.parse_args(argv)
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint DIR: the folder to go on from")
    if args.json and not Path(args.json).absolute().parent.is_dir():
        parser.error(f"--json {args.json}: there is no such folder; make it first")
    if args.json and Path(args.json).is_dir():
        parser.error(f"--json {args.json}: that is a folder; name a file")
    for name, value in DEFAULTS[args.data].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return value


def rate(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return value


def together(work: Callable[[], Any]) -> Any:
    """What `work` returns; where it fails on any rank, all of them end, and rank 0 says why."""
    result, problem = None, None
    try:
        result = work()
    except (OSError, ValueError) as error:
        problem = str(error)
    problems = {r: text for r, text in enumerate(rt.allgather_object(problem)) if text is not None}
    if problems:
        first = min(problems)
        where = "" if len(problems) == rt.size() else f"rank {first}: "
        raise SystemExit(f"{where}{problems[first]}" if rt.rank() == 0 else 1)
    return result


def datasets(name: str, root: str | None) -> tuple[Any, Any]:
    """The training and the test set, pixels scaled to 0 .. 1."""
    kind = DATASETS[name]
    options: dict[str, Any] = {"transform": transforms.ToFloat(kind.max_value)}
    if root is not None and name != "digits":
        options["root"] = root
    return kind(train=True, **options), kind(train=False, **options)


class Trainer:
    """A model, its data and its optimiser on this rank."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        rt.seed(args.seed)
        train, test = together(lambda: datasets(args.data, args.root))
        self.sampler = rt.data.DistributedSampler(train, seed=args.seed)
        self.loader = rt.data.DataLoader(train, args.batch_size, sampler=self.sampler)
        self.test = rt.data.DataLoader(test, 256, sampler=rt.data.DistributedSampler(test, shuffle=False, pad=False))
        self.model = MODELS[args.model](train[0][0].shape[-1])
        self.parameters = sum(p.size for p in self.model.parameters())
        adam = rt.optim.Adam(self.model.parameters(), lr=args.lr)
        steps = together(lambda: len(self.loader))
        self.optimizer = rt.DistributedOptimizer(adam, self.model.named_parameters())
        self.schedule = rt.optim.lr.WarmupCosine(adam, warmup=steps // 10, total=steps * args.epochs, final=0.01)
        self.history: list[dict[str, float]] = []
        rt.broadcast_parameters(self.model, root_rank=0)

    def epoch(self, number: int, show: Any) -> None:
        """Trains one epoch and tests."""
        loss, accuracy = rt.metrics.Mean(), rt.metrics.Accuracy()
        self.loader.set_epoch(number)
        self.model.train()
        start = time.perf_counter()
        for x, y in self.loader:
            logits = self.model(x)
            batch_loss = nn.cross_entropy(logits, y)
            batch_loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            loss.update(batch_loss, len(y))
            show.advance(len(y) * rt.size(), loss.value())
        rt.merge_metrics(loss)
        if not math.isfinite(loss.value()):
            problem = f"the loss became {loss.value()} in epoch {number + 1}; try a smaller --lr"
            raise SystemExit(problem if rt.rank() == 0 else 1)
        seconds = time.perf_counter() - start
        self.model.eval()
        with rt.no_grad():
            for x, y in self.test:
                accuracy.update(self.model(x), y)
        rt.merge_metrics(accuracy)
        figures = {"train_loss": loss.value(), "test_accuracy": accuracy.value(), "seconds": seconds}
        self.history.append({**figures, "images_per_second": loss.totals[1] / seconds})

    def save(self, number: int) -> None:
        if self.args.checkpoint:
            kept = {"epochs": self.history, "schedule": self.schedule.state_dict(), "arguments": self.identity()}
            write = functools.partial(rt.checkpoint.save, self.path, self.model, self.optimizer, number, **kept)
            together(write if rt.rank() == 0 else lambda: None)

    def resume(self) -> int:
        """The first epoch to train: after the checkpoint's, or 0 where there is none."""
        if not self.args.resume or not rt.broadcast_object(self.path.exists(), 0):
            return 0
        about = together(self.load)
        self.history = about["epochs"]
        self.schedule.load_state_dict({**about["schedule"], "last": about["step"] * len(self.loader)})
        return about["step"]

    def load(self) -> dict[str, Any]:
        """Takes over the checkpoint, if it is of this run."""
        saved = rt.checkpoint.read(self.path)[1]["extra"].get("arguments", {})
        differing = {k: (saved.get(k), v) for k, v in self.identity().items() if saved.get(k) != v}
        if differing:
            raise ValueError(f"{self.path} was written by a run with other arguments (saved, given): {differing}")
        return rt.checkpoint.load(self.path, self.model, self.optimizer)

    @property
    def path(self) -> Path:
        return Path(self.args.checkpoint) / CHECKPOINT

    def identity(self) -> dict[str, Any]:
        """What must not change between a run and its continuation."""
        return {k: getattr(self.args, k) for k in ("data", "model", "epochs", "batch_size", "lr", "seed")}


def on_terminal() -> bool:
    """Whether what this process prints is seen on a terminal."""
    if "TTY_COMPATIBLE" in os.environ:  # rich's variable: `ringtrain run` says by it what its own output is
        return os.environ["TTY_COMPATIBLE"] == "1"
    # stderr too, because Open MPI gives rank 0's stdout a terminal even where its own goes into a file
    return sys.stdout.isatty() and sys.stderr.isatty()


class Progress:
    """A bar on rank 0's terminal, or nothing; lines for each epoch are printed either way."""

    def __init__(self, total: int) -> None:
        self.bar: Any = None
        if rt.rank() == 0 and on_terminal():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
            self.bar = Progress(*columns, TextColumn("{task.fields[figures]}"), transient=True)
            self.task = self.bar.add_task("", total=total, figures="")
            self.bar.start()

    def begin(self, epoch: int, epochs: int) -> None:
        self.start, self.seen = time.perf_counter(), 0
        if self.bar:
            self.bar.reset(self.task, description=f"epoch {epoch + 1}/{epochs}", figures="")

    def advance(self, images: int, loss: float) -> None:
        self.seen += images
        if self.bar:
            speed = self.seen / (time.perf_counter() - self.start)
            self.bar.update(self.task, advance=images, figures=f"loss {loss:.4f}  {speed:,.0f} images/s")

    def line(self, text: str) -> None:
        if rt.rank() == 0:
            if self.bar:
                self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, flush=True)

    def close(self) -> None:
        if self.bar:
            self.bar.stop()


def main(argv: list[str] | None = None) -> None:
    rt.init()
    args = parse(argv)
    trainer = Trainer(args)
    first = trainer.resume() if args.checkpoint else 0
    show = Progress(len(trainer.sampler) * rt.size())
    ranks = f"{rt.size()} rank{'s' if rt.size() > 1 else ''}"
    show.line(f"{args.data}, {args.model} with {trainer.parameters:,} parameters, {ranks} x {args.batch_size} images")
    try:
        for number in range(first, args.epochs):
            show.begin(number, args.epochs)
            trainer.epoch(number, show)
            trainer.save(number + 1)
            last = trainer.history[-1]
            show.line(
                f"epoch {number + 1}/{args.epochs}  loss {last['train_loss']:.4f}  "
                f"test accuracy {last['test_accuracy']:.4f}  {last['images_per_second']:,.0f} images/s"
            )
    finally:
        show.close()
    accuracy = trainer.history[-1]["test_accuracy"]
    if rt.rank() == 0 and args.json:
        report(args.json, trainer, accuracy)
    show.line(f"test accuracy {accuracy:.4f}")
    rt.shutdown()


def report(path: str, trainer: Trainer, accuracy: float) -> None:
    """Writes the figures of every epoch, whole or not at all."""
    figures = {"ranks": rt.size(), "parameters": trainer.parameters, "epochs": trainer.history}
    beside = f"{path}.{os.getpid()}.part"
    Path(beside).write_text(json.dumps({**figures, "test_accuracy": accuracy}, indent=2) + "\n")
    os.replace(beside, path)


if __name__ == "__main__":
    main()
