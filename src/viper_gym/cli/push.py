"""`viper-gym push`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Push:
    """Publish a bundle on the Hugging Face Hub.

    Config, weights and model card go into one commit of REPO_ID (owner/name), which is made if it
    does not exist; nothing else in the folder is sent. The bundle is loaded first, strictly and
    with finite weights. A bundle without README.md gets a model card with its usage, tasks, scale
    and audit; `viper-gym evaluate --write` puts the figures in.

    Log in with `hf auth login` before, or set HF_TOKEN to a token with write permission.
    HF_ENDPOINT names another Hub.

    Then `VideoRewardModel.from_pretrained("owner/name", revision="…")` loads it, and so does every
    wrapper and `gym.make("viper/…", checkpoint="owner/name")`. With a commit as revision it is
    the same model forever.
    """

    bundle: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BUNDLE")]
    """folder of the bundle, or an alias; a suite's name is the first of its bundles"""
    repo_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REPO_ID")]
    """owner/name"""
    private: bool = False
    """make the repository private; one that exists stays as it is"""
    revision: str | None = None
    """branch, made if need be (main)"""
    create_pr: bool = False
    """open a pull request instead"""
    message: str | None = None
    """of the commit (names the tasks)"""
    license: str | None = None
    """identifier such as mit or cc-by-4.0, for the model card of a bundle that has none"""
    json: bool = False
    """print address, commit and sha256 of every file: what a row of checkpoints.json pins"""

    def run(self) -> None:
        from viper_gym.checkpoints.hub import upload
        from viper_gym.checkpoints.index import warn_of_first
        from viper_gym.checkpoints.resolve import resolve

        warn_of_first(self.bundle)
        pushed = upload(
            resolve(self.bundle),
            self.repo_id,
            private=self.private or None,
            commit_message=self.message,
            revision=self.revision,
            create_pr=self.create_pr,
            license=self.license,
        )
        if self.json:
            print(json.dumps(pushed._asdict(), indent=2))
            return
        print(pushed.url)
        print(f'load: VideoRewardModel.from_pretrained("{self.repo_id}", "{pushed.commit}")')
