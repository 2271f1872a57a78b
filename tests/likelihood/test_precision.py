import multiprocessing
import os
import platform
import subprocess
import sys

import pytest
import torch

from viper_gym.errors import DeviceUnavailable
from viper_gym.likelihood.precision import _tell_of_the_gpu, autocast, resolve_device

FAULTS = """
import resource, torch
from viper_gym.likelihood.precision import keep_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        layers = [torch.empty(8 << 20, dtype=torch.uint8).fill_(1) for _ in range(3)]
        del layers
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_heap()
faults()
print(faults())
"""

FORKED = """
import os, sys, time
import numpy as np, torch
from viper_gym.likelihood.reward_model import VideoRewardModel

torch.set_num_threads(2)
model = VideoRewardModel.from_pretrained("dmc", task="cup_catch", device="cpu", dtype="fp32")
frames = np.random.default_rng(0).integers(0, 255, (1, 12, 64, 64, 3)).astype(np.uint8)
here = model.log_prob(frames, "cup_catch")
child = os.fork()
if not child:
    same = np.allclose(here, model.log_prob(frames, "cup_catch"), atol=1e-3)
    os._exit(0 if same and torch.get_num_threads() == 1 else 1)
for _ in range(600):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.1)
os.kill(child, 9)
sys.exit(2)
"""


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_named(device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(DeviceUnavailable, match=rf"expected auto, cpu.* got {device}"):
        resolve_device(device)
    for given in ("cpu", "cpu:0", torch.device("cpu")):
        assert resolve_device(given) == torch.device("cpu")


def test_in_a_worker_process_auto_leaves_the_gpu_alone(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda")
    monkeypatch.setattr(
        multiprocessing, "parent_process", lambda: multiprocessing.current_process()
    )
    _tell_of_the_gpu.cache_clear()
    assert [resolve_device("auto") for _ in range(2)] == [torch.device("cpu")] * 2
    assert resolve_device("cuda") == torch.device("cuda")
    (line,) = caplog.messages
    assert "worker process" in line and "device='cuda'" in line


def test_what_the_caller_runs_in_does_not_change_fp32():
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    cpu = torch.device("cpu")
    with autocast(cpu, torch.float32):
        expected = x @ x
    with torch.autocast("cpu", torch.bfloat16), autocast(cpu, torch.float32):
        assert torch.equal(x @ x, expected)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_freed_buffers_are_kept_for_the_next_frame():
    run = [sys.executable, "-c", FAULTS]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    # 61 440 pages are written to; without `keep_heap` 40 640 of them fault in six runs of ten
    assert int(done.stdout) < 1024


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_worker_that_is_forked_behind_a_reward_computes_the_same():
    """PyTorch's threads do not survive a fork: 2 is for ever, 1 another number."""
    assert subprocess.run([sys.executable, "-c", FORKED], check=False).returncode == 0
