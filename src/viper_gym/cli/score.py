"""`viper-gym score`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True)
class Score:
    """Score a video of yours: reward curve and picture."""

    video: Annotated[Path, tyro.conf.Positional]
    """mp4, gif, npz, or a folder of pictures"""
    task: str | None = None
    """what it is to show; may be left out where the checkpoint knows one task only"""
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    out: Path = Path("score.png")
    """the picture: png, jpg, pdf or svg"""
    device: str = "auto"
    json: bool = False

    def run(self) -> None:
        from viper_gym.benchmark.figures import score_figure
        from viper_gym.cli.out import check_out
        from viper_gym.data.videos import read_video, warn_of_lossy
        from viper_gym.errors import VideoDataError
        from viper_gym.likelihood.reward_model import VideoRewardModel

        check_out(self.out, ".png", ".jpg", ".pdf", ".svg")
        model = VideoRewardModel.from_pretrained(
            self.checkpoint, task=self.task, device=self.device
        )
        episode = read_video(self.video, model.image_size)
        warn_of_lossy([self.video])
        if len(episode.frames) < 2:
            raise VideoDataError(f"{self.video}: one frame only; a reward needs two")
        task = model.tasks[model.task_index(self.task)]
        kind: Any = "calibrated" if task in model.config.calibration else "per_token"
        rewards = model.compute_reward(episode.frames[None], task, kind)[0]
        unit = "reward (0 cheap, 1 expert)" if kind == "calibrated" else "nats a token"
        score_figure(rewards, episode, f"{self.video.name} as {task}", unit, self.out)
        figures = {
            "task": task,
            "frames": len(episode.frames),
            "mean_reward": float(rewards.mean()),
            "unit": unit,
        }
        if self.json:
            print(json.dumps({**figures, "rewards": rewards.round(4).tolist()}))
        else:
            print(f"mean {unit} {rewards.mean():.3f} over {len(rewards)} steps; see {self.out}")
