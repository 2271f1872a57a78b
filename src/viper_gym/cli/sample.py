"""`viper-gym sample`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Sample:
    """Let the video model imagine: an open-loop rollout from the start of a video, as a GIF."""

    video: Annotated[Path, tyro.conf.Positional]
    task: str | None = None
    checkpoint: str = "dmc"
    frames: int = 40
    """model frames to imagine"""
    out: Path = Path("sample.gif")
    device: str = "auto"

    def run(self) -> None:
        from viper_gym.benchmark.figures import rollout_gif
        from viper_gym.data.videos import read_video
        from viper_gym.likelihood.reward_model import VideoRewardModel

        model = VideoRewardModel.from_pretrained(
            self.checkpoint, task=self.task, device=self.device
        )
        task = model.tasks[model.task_index(self.task)]
        episode = read_video(self.video, model.image_size)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        rollout_gif(model, task, episode, self.out, self.frames)
        print(f"real video and rollout side by side: {self.out}")
