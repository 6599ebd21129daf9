"""How fast data arrives: workers' start, batches through shared memory (against PyTorch's), pictures, tokens.

    python benchmarks/loading.py                     peer: the torch that `make peers` has put under .peers/
    python benchmarks/loading.py --text FILE --json FILE

`transport` is what a batch of 64 x 3 x 224 x 224 float32 takes from a worker that only copies it, to where the loop
has read one number of each page; `pictures` decodes JPEGs of 320 x 256, crops, flips and normalises to 224 x 224.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SHAPE = (3, 224, 224)


class Copies:
    """Samples that cost one copy."""

    def __init__(self, n: int) -> None:
        self.n, self.image = n, np.random.default_rng(0).random(SHAPE, np.float32)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.image, index


def clock(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def transport(loader: Any, repeats: int) -> float:
    """Seconds a batch, median over passes without the first one."""
    passes = []
    for _ in range(repeats + 1):
        count, start = 0, time.perf_counter()
        for x, _ in loader:
            np.asarray(x).reshape(-1)[::1024].sum()
            count += 1
        passes.append((time.perf_counter() - start) / count)
    return statistics.median(passes[1:])


def torch_transport(batches: int, repeats: int) -> float:
    import torch.utils.data as data  # type: ignore[import-not-found]

    options = {"batch_size": 64, "num_workers": 1, "persistent_workers": True, "multiprocessing_context": "forkserver"}
    return transport(data.DataLoader(Copies(64 * batches), **options), repeats)  # type: ignore[arg-type]


def pictures(folder: Path, n: int) -> Any:
    from ringtrain.data import ImageFolder, RecordWriter, pack_img
    from ringtrain.data import transforms as tf

    y, x = np.mgrid[0:256, 0:320]
    rng = np.random.default_rng(0)
    (folder / "class").mkdir()
    with RecordWriter(folder / "all.rec", folder / "all.idx") as out:
        for i in range(n):
            waves = [128 + 100 * np.sin(x / rng.uniform(5, 50) + y / rng.uniform(5, 50)) for _ in range(3)]
            record = pack_img((0, i, i, 0), np.stack(waves).astype(np.uint8), 90)
            out.write(record, i)
            (folder / "class" / f"{i}.jpg").write_bytes(record[24:])
    work = tf.Compose(
        tf.RandomResizedCrop(224), tf.RandomFlipLeftRight(), tf.ToFloat(), tf.Normalize([0.5] * 3, [0.2] * 3)
    )
    return ImageFolder(folder, work)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    from ringtrain.data import DataLoader, ImageRecordIter

    figures: dict[str, Any] = {}
    empty = [np.zeros(1, np.float32)] * 4
    figures["first pass of 2 workers, with the fork server (s)"] = clock(
        lambda: list(DataLoader(empty, 1, num_workers=2))
    )
    starts = [clock(lambda: list(DataLoader(empty, 1, num_workers=2))) for _ in range(args.repeats)]
    figures["later pass of 2 workers (s)"] = statistics.median(starts)
    loader = DataLoader(Copies(64 * args.batches), 64, num_workers=1, persistent_workers=True)
    figures["transport, ringtrain (ms a batch)"] = 1e3 * transport(loader, args.repeats)
    if args.torch and Path(args.torch).exists():
        command = [args.torch, __file__, "--only-torch", "--batches", str(args.batches), "--repeats", str(args.repeats)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        figures["transport, torch (ms a batch)"] = 1e3 * float(
            subprocess.check_output(command, env=environment, text=True)
        )
    with tempfile.TemporaryDirectory() as name:
        folder = pictures(Path(name), args.pictures)
        for workers in (0, 1, 2):
            loader = DataLoader(folder, 32, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
            list(loader)
            seconds = statistics.median(clock(lambda loader=loader: list(loader)) for _ in range(args.repeats))
            figures[f"pictures, {workers or 'no'} worker{'s' * (workers != 1)} (a second)"] = args.pictures / seconds
        options = {"data_shape": (3, 224, 224), "batch_size": 32, "random_resized_crop": True, "round_batch": False}
        for threads in (1, 2):
            it = ImageRecordIter(
                path_imgrec=Path(name) / "all.rec", preprocess_threads=threads, min_random_area=0.08, **options
            )
            list(it)
            it.reset()
            figures[f"ImageRecordIter, {threads} thread{'s' * (threads > 1)} (a second)"] = args.pictures / clock(
                lambda it=it: list(it)
            )
    if args.text:
        from ringtrain.data import BPETokenizer, read_text

        text, made = read_text(args.text), []
        figures["byte pairs, 4096 tokens, training (s)"] = clock(lambda: made.append(BPETokenizer.train(text, 4096)))
        seconds = clock(lambda: made.append(made[0].encode(text)))
        figures["byte pairs, encoding (MB/s)"] = len(text.encode()) / seconds / 1e6
        assert made[0].decode(made[1]) == text
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=20, help="batches a pass of the transport (20)")
    parser.add_argument("--pictures", type=int, default=256, help="pictures a pass (256)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--text", help="a text file, for the tokenizer's figures")
    parser.add_argument("--torch", default=str(HERE.parent / ".peers/torch/bin/python"), help="a Python that has torch")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--only-torch", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_torch:
        print(torch_transport(args.batches, args.repeats))
        return
    figures = measure(args)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}")
    for name, value in figures.items():
        print(f"{name:52} {value:10.3g}")
    if args.json:
        Path(args.json).write_text(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
