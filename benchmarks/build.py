"""How fast is building? Per gene: the sweep against window by window, encoding, writing."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.common import arguments, matmul_peak, report, seconds, world
from seal_store.building.build import run_shards
from seal_store.building.plan import plan
from seal_store.common.device import inference
from seal_store.model.beluga import Beluga
from seal_store.model.sweep import sweep
from seal_store.model.trunk import Trunk
from seal_store.reference.fasta import one_hot
from seal_store.store.layout import get
from seal_store.store.store import grid_slice


def multiply_adds(model: Beluga, bases: int, windows: int, *, shared: bool) -> float:
    """Products of one strand: ``shared`` trunk over ``bases``, or every window alone."""
    config = model.config
    inner, total = 4, 0
    length = bases if shared else config.window
    times = 1 if shared else windows
    for layer, outer in enumerate(config.channels):
        length -= config.kernel - 1
        phases = 2 if shared and layer >= 4 else 1
        total += times * phases * length * inner * outer * config.kernel
        inner = outer
        if layer in (1, 3):
            length //= config.pool
    total += windows * config.positions * config.channels[-1] * config.hidden
    return total + windows * config.hidden * config.features


class Timed(Trunk):
    """Adds up the time of each step of the trunk."""

    def __init__(self, model: Beluga, device: str) -> None:
        super().__init__(model)
        self.timed_on, self.times = device, dict[str, float]()

    def before_relu(self, layer: int, x: Tensor) -> Tensor:
        return self._add(f"conv {layer}", lambda: super(Timed, self).before_relu(layer, x))

    def pool(self, x: Tensor, dim: int = 1) -> Tensor:
        return self._add("pools", lambda: super(Timed, self).pool(x, dim))

    def _add(self, name: str, work: Callable[[], Tensor]) -> Tensor:
        found: list[Tensor] = []
        time = seconds(lambda: found.append(work()), device=self.timed_on)
        self.times[name] = self.times.get(name, 0.0) + time
        return found[0]


def layers(model: Beluga, x: Tensor, device: str) -> list[dict[str, object]]:
    """Share of the sweep's time of each layer."""
    trunk, found = Timed(model, device), list[Tensor]()
    total = seconds(lambda: found.append(sweep(model, x, trunk=trunk)), device=device)
    times = dict(sorted(trunk.times.items()))
    times["second linear layer"] = seconds(lambda: model.output(found[0]), device=device)
    total += times["second linear layer"]
    times["first linear layer, ReLU and copies"] = total - sum(times.values())
    return [{"layer": name, "s": t, "share": t / total} for name, t in times.items()]


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--genes", {"type": int, "default": 8}),
        ("--windows", {"type": int, "default": 20}),
    )
    setup = world(args, args.genes)
    store, grid = setup.store, setup.store.grid
    model = store.cnn().to(args.device)
    part = grid_slice(grid, int(get(store.group, "tss")[0]), 1)  # type: ignore[arg-type]
    x = torch.from_numpy(one_hot(store.sequence(0)[part]))[None].to(args.device)
    windows = torch.cat([x[..., 200 * i : 200 * i + 2000] for i in range(args.windows)])
    peak = matmul_peak(args.device)
    with inference():
        model(windows[:2])
        plain = seconds(lambda: model(windows), 2, args.device) * grid.bins / args.windows
        swept = seconds(lambda: sweep(model, x), 2, args.device)
        shares = layers(model, x, args.device)
    out = setup.options.out.with_name("again.zarr")
    shutil.rmtree(out, ignore_errors=True)
    planned = plan(replace(setup.options, out=out))
    whole = seconds(lambda: run_shards(planned.path, [0], args.device), 1, args.device)
    shutil.rmtree(planned.path)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def row(name: str, time: float, products: float | None) -> dict[str, object]:
        found: dict[str, object] = {"per gene": name, "s": time, "times faster": plain / time}
        if products is not None:
            found["GFLOP"] = 4 * products / 1e9
            found["of matrix-product peak"] = 4 * products / 1e9 / time / peak
        return found

    report(
        "build",
        f"Build, per gene (200 windows, both strands); matrix products reach {peak:.0f} GFLOP/s; "
        f"peak memory {memory:.2g} GiB",
        [
            row("window by window", plain, multiply_adds(model, 0, 200, shared=False)),
            row("sweep", swept, multiply_adds(model, x.shape[-1], 200, shared=True)),
            row(f"shard of {len(store)} genes, encoding and writing too", whole / len(store), None),
        ],
        args,
    )
    report("build-layers", "Share of the layers in a sweep of one gene", shares, args)


if __name__ == "__main__":
    main()
