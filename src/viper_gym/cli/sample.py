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
    """mp4, gif, npz, or a folder of pictures"""
    task: str | None = None
    """what it shows; may be left out where the checkpoint knows one task only"""
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    frames: int = 40
    """model frames to imagine"""
    out: Path = Path("sample.gif")
    device: str = "auto"

    def run(self) -> None:
        from viper_gym.benchmark.figures import rollout_gif
        from viper_gym.cli.out import check_out
        from viper_gym.data.videos import read_video
        from viper_gym.errors import VideoDataError
        from viper_gym.likelihood.reward_model import VideoRewardModel

        check_out(self.out, ".gif", ".png", ".webp", video=self.video)
        if self.frames < 1:
            raise VideoDataError(f"--frames: expected 1 or more to imagine, got {self.frames}")
        model = VideoRewardModel.from_pretrained(
            self.checkpoint, task=self.task, device=self.device
        )
        task = model.tasks[model.task_index(self.task)]
        episode = read_video(self.video, model.image_size)
        rollout_gif(model, task, episode, self.out, self.frames)
        print(f"real video and rollout side by side: {self.out}")
