"""What the networks will run on, and whether its products are right."""

from __future__ import annotations

import os
from typing import Any

from viper_gym.diagnosis.findings import ChildFailed, Finding, in_child

WRONG = 0.02  # relative error of a product; bf16 rounds to about 0.004


def check(timeout: float) -> list[Finding]:
    """Ask torch in a child: a build for another CPU crashes.

    Args:
        timeout: seconds.
    """
    try:
        return judge(in_child(f"{__name__}:facts", timeout=timeout))
    except ChildFailed as error:
        todo = "reinstall: pip install --force-reinstall -c constraints.txt torch"
        return [Finding("compute", "problem", f"torch does not work: {error}", todo)]


def facts() -> dict[str, Any]:
    """What torch says of the hardware and what this package will choose; to be run in a child."""
    import torch

    from viper_gym.likelihood.precision import autocast, resolve_device, resolve_dtype

    device = resolve_device("auto")
    dtype = resolve_dtype("auto", device)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 256, 256, generator=generator)
    with autocast(device, dtype):
        product = (a.to(device) @ b.to(device)).float().cpu()
    exact = (a.double() @ b.double()).float()
    gpu = torch.cuda.is_available()
    return {
        "device": str(device),
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "cuda_build": torch.version.cuda,
        "dtype": "bf16" if dtype == torch.bfloat16 else "fp32",
        "amx": torch.cpu._is_amx_tile_supported(),
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
        "threads": torch.get_num_threads(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "error": float((product - exact).norm() / exact.norm()),
    }


def judge(found: dict[str, Any]) -> list[Finding]:
    """The line on the hardware, and what is odd about it."""
    has = {True: "yes", False: "no"}
    where = found["gpu"] or f"AMX {has[found['amx']]}, AVX512-BF16 {has[found['avx512_bf16']]}"
    text = (
        f"video models will run on {found['device']} in {found['dtype']} ({where}; "
        f"{found['threads']} threads on {found['cpus']} CPUs; CUDA build: "
        f"{found['cuda_build'] or 'no'})"
    )
    if not found["error"] < WRONG:  # NaN is wrong, too
        wrong = f"{text}, but a product is off by {found['error']:.1%}"
        return [Finding("compute", "problem", wrong, "pass dtype='fp32', and report this")]
    findings = [Finding("compute", "ok", text)]
    if found["cuda_build"] and not found["gpu"]:
        todo = "check the driver (nvidia-smi), or install torch's CPU build"
        note = "torch was built for CUDA, but finds no usable GPU: the CPU is used"
        findings.append(Finding("compute", "note", note, todo))
    if found["threads"] > found["cpus"]:
        note = f"{found['threads']} threads share {found['cpus']} CPUs, which slows small networks"
        findings.append(Finding("compute", "note", note, f"export OMP_NUM_THREADS={found['cpus']}"))
    return findings
