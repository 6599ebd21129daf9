"""ringtrain's side of optimizers.py."""

from optimizer_work import OPTIONS, arrays
from serve import serve

import ringtrain as rt


def make(work):
    values, gradients = arrays()
    params = [rt.nn.Parameter(v) for v in values]
    name, options = OPTIONS[work]
    optimizer = getattr(rt.optim, name)(params, **options)
    for p, g in zip(params, gradients, strict=True):
        p.grad = g

    def step():
        optimizer.step()
        return float(params[0].detach().numpy()[0, 0])

    return step, {"parameters": sum(p.size for p in params)}


if __name__ == "__main__":
    serve("ringtrain", rt.__version__, make)
