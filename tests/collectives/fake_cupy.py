"""A stand-in for CuPy, for machines without a GPU: the part of its interface that collectives use.

Streams are as lazy as CUDA allows. What is given to one is done when the host waits for it (or for an
event recorded there), not before; whoever reads a result without having waited, or reuses a buffer that is
still being copied from, gets wrong numbers. "Device memory" is host memory that starts as garbage and that
refuses to become a NumPy array. Ranks are threads, each with a current GPU and streams of its own, and
NCCL operations run when all ranks' streams have come to them, through the addresses that they were given.
"""

import ctypes
import threading
import time
import types
from collections import deque
from itertools import count

import numpy as np

PATIENCE = 20.0  # seconds before a host that waits for its stream fails the test
RULE = threading.RLock()  # one thing happens at a time

float32, float64, int32 = np.float32, np.float64, np.int32  # CuPy's dtypes are NumPy's


class Thread(threading.local):
    def __init__(self):
        self.device, self.streams, self.group = 0, {}, None


HERE = Thread()


class World:
    """What a test may look at and turn."""

    def __init__(self):
        self.calls = []  # what has been called, in order: names
        self.nccl_calls = []  # (verb, rank, count, datatype, op or root or peer)
        self.pinned = 0  # copies between the GPU and page-locked memory
        self.streams, self.null = {}, {}
        self.communicators, self.waiting = [], {}
        self.refused = None  # what making a communicator raises
        self.stuck = set()  # ranks whose launches wait for ever
        self.gone = set()  # ranks whose kernels never come
        self.available, self.version = True, 22707


world = World()


# -- streams and events ---------------------------------------------------------------------------


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.reached, self.stream = False, None

    @property
    def done(self):
        with RULE:
            if self.stream is not None:
                self.stream.go_on(self)
            return self.reached or self.stream is None


class Stream:
    numbers = count(0x51)

    def __init__(self, null=False, non_blocking=False, ptds=False, device=None):
        self.ptr = next(Stream.numbers)
        self.device = HERE.device if device is None else device
        self.non_blocking, self.work = non_blocking, deque()
        world.streams[self.ptr] = self

    def __enter__(self):
        assert HERE.device == self.device, "a stream of another GPU was made current"
        HERE.streams.setdefault(self.device, []).append(self)
        return self

    def __exit__(self, *_):
        assert HERE.streams[self.device].pop() is self

    def add(self, step):
        with RULE:
            self.work.append(step)

    def go_on(self, until=None):
        """Do what can be done, up to an event: a step that returns False waits for somebody."""
        while self.work and not (until is not None and until.reached):
            if self.work[0]() is False:
                return
            self.work.popleft()

    def record(self, event=None):
        event = event or Event()
        event.reached, event.stream = False, self
        self.add(lambda: setattr(event, "reached", True))
        return event

    def wait_event(self, event):
        self.add(lambda: event.done)

    def synchronize(self):
        world.calls.append("synchronize")
        event, end = self.record(), time.monotonic() + PATIENCE
        while not event.done:
            assert time.monotonic() < end, "the host waits for a stream that does not move"
            time.sleep(1e-4)


def get_current_stream():
    current = HERE.streams.get(HERE.device)
    if current:
        return current[-1]
    with RULE:
        if HERE.device not in world.null:
            world.null[HERE.device] = Stream(device=HERE.device)
        return world.null[HERE.device]


class Device:
    def __init__(self, device=None):
        self.id = HERE.device if device is None else int(device)

    def __enter__(self):
        self.before, HERE.device = HERE.device, self.id
        return self

    def __exit__(self, *_):
        HERE.device = self.before

    @property
    def pci_bus_id(self):
        return f"0000:{self.id:02x}:00.0"


# -- arrays ---------------------------------------------------------------------------------------


class Flags(types.SimpleNamespace):
    pass


class ndarray:
    def __init__(self, memory, device):
        self._memory, self._device = memory, device

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    shape = property(lambda self: self._memory.shape)
    dtype = property(lambda self: self._memory.dtype)
    size = property(lambda self: self._memory.size)
    ndim = property(lambda self: self._memory.ndim)
    nbytes = property(lambda self: self._memory.nbytes)
    itemsize = property(lambda self: self._memory.itemsize)
    device = property(lambda self: Device(self._device))
    data = property(lambda self: types.SimpleNamespace(ptr=self._memory.__array_interface__["data"][0]))
    flags = property(lambda self: Flags(c_contiguous=self._memory.flags.c_contiguous))

    def __len__(self):
        return len(self._memory)

    def _view(self, memory):
        assert np.may_share_memory(memory, self._memory) or memory.size == 0
        return ndarray(memory, self._device)

    def _do(self, step):
        assert HERE.device == self._device, f"GPU {HERE.device} is current, and the array on GPU {self._device}"
        get_current_stream().add(step)

    def reshape(self, *shape):
        if not self._memory.flags.c_contiguous:
            return self.copy().reshape(*shape)
        return self._view(self._memory.reshape(*shape))

    def view(self, dtype):
        return self._view(self._memory.view(dtype))

    def __getitem__(self, key):
        return self._view(self._memory[key])

    def __setitem__(self, key, value):
        assert isinstance(value, ndarray), "only CuPy arrays are set here"
        source, target = value._memory, self._memory
        self._do(lambda: target.__setitem__(key, source))

    def copy(self, order="C"):
        out = empty(self.shape, self.dtype)
        out[...] = self
        return out

    def astype(self, dtype):
        out = empty(self.shape, dtype)
        out[...] = self
        return out

    def __imul__(self, factor):
        self._do(lambda: np.multiply(self._memory, factor, out=self._memory, casting="unsafe"))
        return self

    def __itruediv__(self, divisor):
        self._do(lambda: np.divide(self._memory, divisor, out=self._memory, casting="unsafe"))
        return self

    def get(self, stream=None, order="C", out=None, blocking=True):
        out = np.empty(self.shape, self.dtype) if out is None else out
        assert out.shape == self.shape and out.dtype == self.dtype
        _count_pinned(out)
        stream, memory = stream or get_current_stream(), self._memory
        stream.add(lambda: np.copyto(out, memory))
        if blocking:
            stream.synchronize()
        return out

    def set(self, arr, stream=None):
        assert type(arr) is np.ndarray and arr.shape == self.shape and arr.dtype == self.dtype
        assert self.flags.c_contiguous, "Cannot set to non-contiguous array"
        _count_pinned(arr)
        memory = self._memory
        (stream or get_current_stream()).add(lambda: np.copyto(memory, arr))


ndarray.__module__ = "cupy"


def empty(shape, dtype=float):
    memory = np.empty(shape, dtype)
    memory.reshape(-1).view(np.uint8)[...] = 0xA5
    return ndarray(memory, HERE.device)


def asarray(data, dtype=None):
    host = np.array(data, dtype)
    array = empty(host.shape, host.dtype)
    array._do(lambda: np.copyto(array._memory, host))
    return array


def asnumpy(array):
    return array.get()


def ascontiguousarray(array):
    return array if array.flags.c_contiguous else array.copy()


class PinnedMemory(bytearray):
    """Page-locked memory, which was something else before."""


def alloc_pinned_memory(size):
    return PinnedMemory(b"\x5a" * size)


def _count_pinned(host):
    while isinstance(host, np.ndarray) and host.base is not None:
        host = host.base
    if isinstance(host, memoryview):
        host = host.obj
    world.pinned += isinstance(host, PinnedMemory)


# -- NCCL -----------------------------------------------------------------------------------------


class NcclError(RuntimeError):
    pass


def get_unique_id():
    return bytes(np.random.default_rng().integers(0, 256, 128, np.uint8))


def groupStart():
    assert HERE.group is None
    HERE.group = []


def groupEnd():
    group, HERE.group = HERE.group, None
    if group:
        comm = group[0][0]
        end = time.monotonic() + PATIENCE
        while comm.rank in world.stuck and not comm.aborted:
            assert time.monotonic() < end, "a launch that waits for ever was not aborted"
            time.sleep(1e-3)
        if comm.aborted:
            raise NcclError("NCCL_ERROR_INTERNAL_ERROR: the communicator was aborted")
        comm.launch([call for _, call in group])


SIZES = np.dtype("i1,u1,i4,u4,i8,u8,f2,f4,f8")
UFUNCS = {0: np.add, 1: np.multiply, 2: np.maximum, 3: np.minimum, 4: np.add}


def _type(code):
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16) if code == 9 else SIZES[code]


def _memory(address, items, code):
    dtype = _type(code)
    return np.frombuffer((ctypes.c_char * (items * dtype.itemsize)).from_address(address), dtype)


class NcclCommunicator:
    """One rank's end. A launch is matched with the others' of its number, call by call."""

    def __init__(self, ndev, commId, rank):
        assert isinstance(commId, bytes) and len(commId) == 128
        if world.refused:
            raise NcclError(world.refused)
        self.size, self.key, self.rank = ndev, commId, rank
        self.launches, self.aborted, self.destroyed = 0, False, False
        world.communicators.append(self)

    def _call(self, verb, stream, *arguments):
        assert HERE.group is not None and not self.aborted and not self.destroyed
        assert world.streams[stream].device == HERE.device
        world.nccl_calls.append((verb, self.rank, *arguments[-3:]))
        self.stream = world.streams[stream]
        HERE.group.append((self, (verb, arguments)))

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        self._call("allReduce", stream, sendbuf, recvbuf, count, datatype, op)

    def reduce(self, sendbuf, recvbuf, count, datatype, op, root, stream):
        self._call("reduce", stream, sendbuf, recvbuf, op, count, datatype, root)

    def reduceScatter(self, sendbuf, recvbuf, recvcount, datatype, op, stream):
        self._call("reduceScatter", stream, sendbuf, recvbuf, recvcount, datatype, op)

    def broadcast(self, sendbuff, recvbuff, count, datatype, root, stream):
        self._call("broadcast", stream, sendbuff, recvbuff, count, datatype, root)

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        self._call("allGather", stream, sendbuf, recvbuf, count, datatype, None)

    def send(self, sendbuf, count, datatype, peer, stream):
        self._call("send", stream, sendbuf, count, datatype, peer)

    def recv(self, recvbuf, count, datatype, peer, stream):
        self._call("recv", stream, recvbuf, count, datatype, peer)

    def launch(self, calls):
        number, self.launches = self.launches, self.launches + 1

        def step():
            if self.aborted:
                return None
            there = world.waiting.setdefault((self.key, number), {})
            if self.rank not in world.gone:
                there[self.rank] = calls
            if len(there) < self.size:
                return False
            if not there.get("done"):
                _carry_out({rank: there[rank] for rank in range(self.size)})
                there["done"] = True
            return None

        self.stream.add(step)

    def check_async_error(self):
        assert not self.aborted, "an aborted communicator was used"

    def abort(self):
        with RULE:
            self.aborted = True
        world.calls.append("abort")

    def destroy(self):
        self.destroyed = True


def _carry_out(calls):
    collectives = [[call for call in theirs if call[0] not in ("send", "recv")] for theirs in calls.values()]
    for together in zip(*collectives, strict=True):
        (verb,) = {verb for verb, _ in together}
        _collective(verb, [arguments for _, arguments in together])
    sends = {}
    for rank, theirs in calls.items():
        for verb, arguments in theirs:
            if verb == "send":
                address, items, code, peer = arguments
                sends.setdefault((rank, peer), deque()).append(_memory(address, items, code).copy())
    for rank, theirs in calls.items():
        for verb, arguments in theirs:
            if verb == "recv":
                address, items, code, peer = arguments
                _memory(address, items, code)[...] = sends[peer, rank].popleft()
    assert not any(sends.values()), "something was sent that nobody received"


def _collective(verb, ranks):
    (same,) = {arguments[2:] for arguments in ranks}
    if verb == "reduce":
        op, items, code, root = same
        total = UFUNCS[op].reduce([_memory(arguments[0], items, code) for arguments in ranks], axis=0)
        _memory(ranks[root][1], items, code)[...] = total
        return
    items, code, last = same
    if verb == "broadcast":
        data = _memory(ranks[last][0], items, code).copy()
        results = [data] * len(ranks)
    elif verb == "allGather":
        results = [np.concatenate([_memory(arguments[0], items, code) for arguments in ranks])] * len(ranks)
    else:
        n = len(ranks) if verb == "reduceScatter" else 1
        inputs = np.stack([_memory(arguments[0], items * n, code) for arguments in ranks])
        with np.errstate(all="ignore"):
            total = UFUNCS[last].reduce(inputs.astype(np.float32) / len(ranks) if last == 4 else inputs, axis=0)
        total = total.astype(inputs.dtype)
        results = np.split(total, n) if n > 1 else [total] * len(ranks)
    for arguments, result in zip(ranks, results, strict=True):
        _memory(arguments[1], result.size, code)[...] = result


# -- the modules ----------------------------------------------------------------------------------


def modules():
    """What to put into sys.modules: fresh, with a world of its own."""
    global world
    world = World()
    nccl = types.ModuleType("cupy.cuda.nccl")
    for name in ("NcclCommunicator", "NcclError", "get_unique_id", "groupEnd", "groupStart"):
        setattr(nccl, name, globals()[name])
    nccl.available, nccl.get_version = True, lambda: world.version
    cuda = types.ModuleType("cupy.cuda")
    for name in ("Device", "Event", "Stream", "alloc_pinned_memory", "get_current_stream"):
        setattr(cuda, name, globals()[name])
    cupy = types.ModuleType("cupy")
    for name in ("asarray", "ascontiguousarray", "asnumpy", "empty", "ndarray"):
        setattr(cupy, name, globals()[name])
    cupy.cuda, cuda.nccl = cuda, nccl
    return {"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.nccl": nccl}
