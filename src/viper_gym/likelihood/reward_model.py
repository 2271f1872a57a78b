"""`VideoRewardModel`: frames in, log-likelihoods and rewards out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from viper_gym.checkpoints.bundle import (
    Bundle,
    BundleConfig,
    load_bundle,
    save_bundle,
)
from viper_gym.checkpoints.hub_options import HubOptions, PushedBundle
from viper_gym.checkpoints.index import unknown_task, warn_of_others
from viper_gym.checkpoints.resolve import resolve
from viper_gym.errors import CheckpointError
from viper_gym.likelihood.batch import batch_log_prob
from viper_gym.likelihood.precision import (
    autocast,
    cast_for_inference,
    finite,
    keep_heap,
    one_thread_in_forks,
    resolve_device,
    resolve_dtype,
)
from viper_gym.likelihood.scaling import (
    CEILING,
    LOWEST_FLOOR,
    Clip,
    RewardScale,
    ScaleKind,
    check_scale,
)
from viper_gym.models.context import ContextPolicy
from viper_gym.models.frames import check_frames, to_input, to_uint8
from viper_gym.models.precision import own_precision


class VideoRewardModel:
    """A pretrained tokenizer and video model, and the scale of their likelihoods.

    Args:
        bundle: networks and config.
        device: "auto" takes a GPU where there is one.
        dtype: of the video model's products: "auto", "bf16" or "fp32".
        tokenizer_dtype: of the tokenizer's. bf16 is faster and near ties picks other codes;
            docs/decisions.md has the share.
        policy: context of a frame; None takes the bundle's own, task by task.

    Example:
        >>> model = VideoRewardModel.from_pretrained("dmc", task="cheetah_run")
        >>> rewards = model.compute_reward(frames, task="cheetah_run")
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        policy: ContextPolicy | None = None,
        tokenizer_dtype: str = "fp32",
    ):
        self.source: str | None = None
        self.loaded_with: dict[str, Any] = {}
        """what `from_pretrained` was given, for specs to name it"""
        self.device = resolve_device(device)
        if self.device.type == "cpu":
            keep_heap()
            one_thread_in_forks()
        self.dtype = resolve_dtype(dtype, self.device)
        self._policy = policy
        self.bundle = bundle
        self.tokenizer_dtype = resolve_dtype(tokenizer_dtype, self.device)
        # copies: another model of the bundle may be on another device
        tokenizer = cast_for_inference(bundle.tokenizer, self.tokenizer_dtype)
        self.tokenizer = tokenizer.to(self.device)
        self._masks = self._mask_tensor()
        self.video_model = cast_for_inference(bundle.video_model, self.dtype).to(self.device)

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path,
        revision: str | None = None,
        *,
        task: str | Sequence[str] | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        **options: Any,
    ) -> VideoRewardModel:
        """Load a bundle: a local folder, an alias of `checkpoints.json` or a Hub repository.

        Args:
            checkpoint: the folder, alias or owner/name.
            revision: branch, tag or commit of the repository; a commit that is in the cache is
                loaded without a request.
            task: what it is for, one or several, where a suite ("dmc") has several bundles; its
                first without any, whose classes may be served better by another.
            cache_dir, token, local_files_only, force_download: see `HubOptions`.
            options: of the class: `device`, `dtype`, ….

        Raises:
            HubUnavailable: the Hub cannot be reached, and the cache has no complete copy.
            CheckpointError: nothing usable under that name.
            UnknownTask: the bundle does not know a task.
        """
        hub = HubOptions(cache_dir, token, local_files_only, force_download)
        if task is None and not isinstance(checkpoint, Path):  # a folder may be called "dmc"
            warn_of_others(checkpoint)
        model = cls(load_bundle(resolve(checkpoint, revision, hub, task)), **options)
        given = checkpoint.absolute() if isinstance(checkpoint, Path) else checkpoint
        for named in {task} if isinstance(task, str) else {*(task or ())} - {None}:
            model.task_index(named)
        model.source = str(given)  # a folder's bare name may be an alias
        model.loaded_with = {"revision": revision, **options}
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the bundle to a folder."""
        save_bundle(self.bundle, Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        commit_message: str | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        license: str | None = None,
    ) -> PushedBundle:
        """Publish the bundle in one commit of a Hub repository, which is made if need be.

        The arguments, and what fails how, are those of `checkpoints.hub.upload`. The files are
        those of `save_pretrained`; `viper-gym push` sends a folder's own.

        Returns:
            The commit's address and id, and the sha256 of every file.
        """
        from viper_gym.checkpoints.hub import upload  # the client takes long to import

        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload(
                Path(folder), repo_id, private=private, commit_message=commit_message, token=token,
                revision=revision, create_pr=create_pr, license=license,
            )  # fmt: skip

    @property
    def config(self) -> BundleConfig:
        return self.bundle.config

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.config.tasks

    @property
    def image_size(self) -> int:
        return int(self.config.tokenizer.image_size)

    @property
    def tokens_per_frame(self) -> int:
        return self.config.video_model.tokens_per_frame

    def task_index(self, task: str | None) -> int:
        """Class of a task; without a name, the only task there is.

        Raises:
            UnknownTask: the bundle does not know it, or has several and none was named.
        """
        if task is None and len(self.tasks) == 1:
            return 0
        if task not in self.tasks:
            raise unknown_task(self.tasks, task)
        return self.tasks.index(task)

    def policy_of(self, task: str | None) -> ContextPolicy:
        """Which frames a frame of a task is scored with.

        Raises:
            UnknownTask: see `task_index`.
        """
        return self._policy or self.config.policy_of(self.tasks[self.task_index(task)])

    def is_calibrated(self, task: str) -> bool:
        """Whether the bundle has a scale for the task that was made for this model's policy."""
        length = self.config.video_model.sequence_length
        policies = self.config.policy_of(task), self.policy_of(task)
        made, used = ((p.mode, p.length(length)) for p in policies)
        return task in self.config.calibration and made == used

    def scale(
        self,
        task: str | None,
        kind: ScaleKind = "calibrated",
        clip: Clip = None,
    ) -> RewardScale:
        """The scale of a task: calibrated (0 best cheap behaviour, 1 expert), per_token or raw.

        Args:
            clip: bounds of the scaled reward. "calibrated" ones are the bundle's
                (`Calibration.clip`): below the floor all failures are alike (of two ways to fail
                the calmer one is likelier, and agents settle there), above the ceiling all
                successes (a shaking hand that does the task is unlikely, too). Where the ceiling
                is below 1 the reward is divided by it, so that 1 stays the most that is paid. A
                bundle without them has its floor where doing nothing is, or at -0.5 if that is
                lower (docs/decisions.md, "Scale and bonus").

        Raises:
            ValueError: no such kind, or calibrated bounds for another scale.
            CheckpointError: the bundle has no calibration for the task, or one that was made
                with another mode or window.
        """
        name = self.tasks[self.task_index(task)]
        check_scale(kind, clip)
        bounds = None if isinstance(clip, str) else clip
        if kind == "raw":
            return RewardScale(0.0, 1.0, bounds)
        if kind == "per_token":
            return RewardScale(0.0, float(self.tokens_per_frame), bounds)
        levels = self.config.levels_of(name)
        if not self.is_calibrated(name):
            made, used = self.config.policy_of(name), self.policy_of(name)
            length = self.config.video_model.sequence_length
            raise CheckpointError(
                f"the bundle's calibration was made with mode '{made.mode}' and a window of "
                f"{made.length(length)} frames, this model scores with '{used.mode}' and "
                f"{used.length(length)}: calibrate it for them, or take reward_scale='per_token' "
                "or 'raw'"
            )
        if not isinstance(clip, str):
            return RewardScale(levels.low, levels.high, bounds, levels.by_context)
        span = levels.high - levels.low
        if levels.clip is None:
            idle = levels.low if levels.idle is None else levels.idle
            floor = min(0.0, max(LOWEST_FLOOR, (idle - levels.low) / span))
            return RewardScale(levels.low, levels.high, (floor, CEILING), levels.by_context)
        floor, ceiling = levels.clip
        unit = min(1.0, ceiling)
        bounds = (floor / unit, ceiling / unit)
        return RewardScale(levels.low, levels.low + unit * span, bounds, levels.by_context)

    def scaled(
        self,
        log_prob: np.ndarray,
        task: str | None,
        kind: ScaleKind = "calibrated",
        clip: Clip = None,
    ) -> np.ndarray:
        """Rewards of whole episodes, the numbers that the live wrapper gives.

        Args:
            log_prob: float (…, T), nats, of every frame from the first on (`log_prob`).

        Returns:
            float64 (…, T - 1): entry t scores frame t + 1; the first frame has no reward.

        Raises:
            ValueError, CheckpointError: see `scale`.
        """
        return episode_rewards(
            self.scale(task, kind, clip), log_prob, self.policy_of(task), self.config
        )

    @torch.inference_mode()
    def encode(self, frames: np.ndarray, tasks: Tensor, batch_size: int = 128) -> Tensor:
        """uint8 frames (B, H, W, 3), task numbers (B,) -> codes int64 (B, h, w).

        Raises:
            FrameMismatch: another size, dtype or layout.
        """
        check_frames(frames, self.image_size, ndim=4)
        # writable, too: PyTorch warns of arrays that are not (memory maps, views of JAX)
        pixels = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
        codes = []
        for part, task in zip(pixels.split(batch_size), tasks.split(batch_size), strict=True):
            part = part.to(self.device)
            if self._masks is not None:
                part = part * self._masks[task]
            with autocast(self.device, self.tokenizer_dtype):
                codes.append(self.tokenizer.encode(to_input(part), task))
        return torch.cat(codes)

    def features(self, frames: np.ndarray, task: str | None = None) -> np.ndarray:
        """Code vectors of the frozen tokenizer: uint8 (B, H, W, 3) -> float32 (B, h * w * D).

        Raises:
            FrameMismatch, UnknownTask.
        """
        return self.features_of_codes(self.encode(frames, self.task_numbers(task, len(frames))))

    def features_of_codes(self, codes: Tensor) -> np.ndarray:
        """Code vectors of codes (B, h, w): float32 (B, h * w * D)."""
        return F.embedding(codes, self.video_model.codebook).flatten(1).float().cpu().numpy()

    def _mask_tensor(self) -> Tensor | None:
        """uint8 (tasks, H, W, 1), or None where no task is masked."""
        masks = self.config.masks
        if not masks:
            return None
        size = self.image_size
        rows = [masks.get(task, [[1] * size] * size) for task in self.tasks]
        return torch.tensor(rows, dtype=torch.uint8, device=self.device)[..., None]

    @torch.inference_mode()
    def decode(self, codes: Tensor, task: str | None = None) -> np.ndarray:
        """Codes (B, h, w) -> uint8 frames (B, H, W, 3)."""
        with autocast(self.device, self.tokenizer_dtype):
            drawn = self.tokenizer.decode(codes, self.task_numbers(task, len(codes)))
        return to_uint8(drawn)

    def task_numbers(self, task: str | None, batch: int) -> Tensor:
        """The index of a task, `batch` times: int64 (B,)."""
        return torch.full((batch,), self.task_index(task), device=self.device)

    def log_prob(
        self, frames: np.ndarray, task: str | None = None, per_token: bool = False
    ) -> np.ndarray:
        """What every frame is worth given the earlier ones of its episode, in nats.

        By the task's policy (`policy_of`): ln p(x_t | x_{t-s}, x_{t-2s}, …) of the frame, which a
        window of one frame gives without any other; in mode "joint" the sum of that over the
        frames of the window. Where the bundle knows unskilled play (`config.contrast`) the same
        among such play is taken off: a log likelihood ratio.

        Args:
            frames: uint8 (B, T, H, W, 3), episodes from their first frame.
            task: name of the task; may be left out where the bundle has only one.
            per_token: divide by the tokens a frame.

        Returns:
            float32 (B, T), nats; entry t is of frame t.

        Raises:
            FrameMismatch, UnknownTask, NonFiniteLikelihood.
        """
        check_frames(frames, self.image_size, ndim=5)
        B, T = frames.shape[:2]
        numbers = self.task_numbers(task, B * T)
        codes = self.encode(frames.reshape(B * T, *frames.shape[2:]), numbers)
        tokens = self.log_prob_of_codes(codes.view(B, T, *codes.shape[1:]), task)
        scores = tokens.mean((2, 3)) if per_token else tokens.sum((2, 3))
        return finite(scores)

    def log_prob_of_window(self, codes: Tensor, task: str | None = None) -> Tensor:
        """ln p of the frames of windows, each given the earlier ones of its window.

        Codes (B, n, h, w) of frames that are a frame stride apart -> fp32 (B, n), nats.
        """
        tasks = self.classes(self.task_numbers(task, len(codes)))
        with torch.inference_mode(), own_precision(self.device):
            return self.compared(
                lambda classes: self.video_model.log_prob(codes, classes).sum((2, 3)), tasks
            )

    def log_prob_of_codes(self, codes: Tensor, task: str | None = None) -> Tensor:
        """ln p of every token: codes (B, T, h, w) -> fp32 (B, T, h, w), nats."""
        tasks = self.classes(self.task_numbers(task, len(codes)))
        stride, policy = self.config.frame_stride, self.policy_of(task)
        with own_precision(self.device):
            return self.compared(
                lambda classes: batch_log_prob(self.video_model, codes, classes, stride, policy),
                tasks,
            )

    def compute_reward(
        self,
        frames: np.ndarray,
        task: str | None = None,
        reward_scale: ScaleKind = "calibrated",
        reward_clip: Clip = None,
    ) -> np.ndarray:
        """Scaled reward of every step: uint8 (B, T, H, W, 3) -> float32 (B, T - 1).

        Entry t scores frame t + 1, the frame that step t returned; the first frame has none.

        Args:
            reward_scale, reward_clip: see `scale`.
        """
        log_prob = self.log_prob(frames, task)
        return self.scaled(log_prob, task, reward_scale, reward_clip).astype(np.float32)

    def compared(self, log_prob: Callable[[Tensor | None], Tensor], tasks: Tensor | None) -> Tensor:
        """Log-probabilities under the tasks' classes; where the bundle knows unskilled play, less
        those under its classes: a log likelihood ratio (Ren et al. 2019), which is not as high for
        any picture that has little in it.

        Args:
            log_prob: classes -> nats.
        """
        experts = log_prob(tasks)
        if not self.config.contrast:
            return experts
        assert tasks is not None
        return experts - log_prob(tasks + len(self.tasks))

    def classes(self, tasks: Tensor) -> Tensor | None:
        """What the video model is conditioned on: None for an unconditional one."""
        return tasks if self.config.video_model.num_classes else None


def episode_rewards(
    scale: RewardScale, log_prob: np.ndarray, policy: ContextPolicy, config: BundleConfig
) -> np.ndarray:
    """Rewards (…, T - 1) of whole episodes whose frames have log-probabilities (…, T), nats."""
    steps = np.arange(1, log_prob.shape[-1])
    length = config.video_model.sequence_length
    return scale(log_prob[..., 1:], policy.context_frames(steps, config.frame_stride, length))
