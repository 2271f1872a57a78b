"""`viper-gym score`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from viper_gym.cli.progress import console

if TYPE_CHECKING:
    from viper_gym.data.episodes import Episode
    from viper_gym.likelihood.reward_model import VideoRewardModel


@dataclass(frozen=True)
class Score:
    """Score a video of yours: a picture of its reward curve, and the video beside a rollout that
    the model imagines from its first frames (a GIF beside the picture)."""

    video: Annotated[Path, tyro.conf.Positional]
    """mp4, gif, npz, or a folder of pictures"""
    task: str | None = None
    """what it is to show; may be left out where the checkpoint knows one task only"""
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    out: Path = Path("score.png")
    """the picture: png, jpg, pdf or svg"""
    rollout: bool = True
    """also draw what the model imagines; of large models that takes minutes"""
    device: str = "auto"
    json: bool = False

    def run(self) -> None:
        from viper_gym.benchmark.figures import score_figure
        from viper_gym.benchmark.report import warn_of_size
        from viper_gym.cli.out import check_out
        from viper_gym.data.videos import read_video, warn_of_lossy
        from viper_gym.errors import VideoDataError
        from viper_gym.likelihood.reward_model import VideoRewardModel

        check_out(self.out, ".png", ".jpg", ".pdf", ".svg", video=self.video)
        rollout = self.out.with_name(f"{self.out.stem}_rollout.gif")
        if self.rollout:
            check_out(rollout, ".gif", video=self.video)
        model = VideoRewardModel.from_pretrained(
            self.checkpoint, task=self.task, device=self.device
        )
        episode = read_video(self.video, model.image_size)
        warn_of_lossy([self.video])
        if len(episode.frames) < 2:
            raise VideoDataError(f"{self.video}: one frame only; a reward needs two")
        task = model.tasks[model.task_index(self.task)]
        warn_of_size(self.video, [episode], model.config, task)
        kind: Any = "calibrated" if task in model.config.calibration else "per_token"
        rewards = model.compute_reward(episode.frames[None], task, kind)[0]
        levels, unit = {}, "nats a token"
        if kind == "calibrated":
            levels = {"best cheap behaviour": 0.0, "expert": 1.0}
            unit = "reward (0 cheap, 1 expert)"
        score_figure(rewards, episode, f"{self.video.name} as {task}", unit, self.out, levels)
        drawn = self.rollout and self._draw_rollout(model, task, episode, rollout)
        figures = {
            "task": task,
            "frames": len(episode.frames),
            "mean_reward": float(rewards.mean()),
            "unit": unit,
            "picture": str(self.out),
            "rollout": str(rollout) if drawn else None,
        }
        if self.json:
            print(json.dumps({**figures, "rewards": rewards.round(4).tolist()}))
        else:
            seen = f"{self.out}, {rollout}" if drawn else self.out
            print(f"mean {unit} {rewards.mean():.3f} over {len(rewards)} steps; see {seen}")

    def _draw_rollout(
        self, model: VideoRewardModel, task: str, episode: Episode, path: Path
    ) -> bool:
        """False, and a word on stderr, where the video is too short for one."""
        from viper_gym.benchmark.figures import rollout_gif
        from viper_gym.errors import VideoDataError

        try:
            rollout_gif(model, task, episode, path)
        except VideoDataError as error:
            console.print(f"no rollout: {error}")
            return False
        return True
