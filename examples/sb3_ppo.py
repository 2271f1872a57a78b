"""Stable-Baselines3 PPO from pixels, rewarded by video alone.

    python examples/sb3_ppo.py --env viper/dmc-cup_catch-v0 --out runs/sb3_ppo

Both returns, the bonus and the share of time that rewards take go to the console and to
TensorBoard (`tensorboard --logdir runs`); rollout/ep_rew_mean is the task return, because
`make_vec_env` puts its Monitor inside, and viper/return the video's. PPO from pixels takes
millions of steps; for a run of minutes take `sb3_sac_state.py`.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack

import viper_gym  # noqa: F401  (registers the viper/… ids)
from viper_gym.wrappers.sb3 import LogRewards, ViperVecEnvWrapper


@dataclass
class Args:
    env: str = "viper/dmc-cup_catch-v0"
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    steps: int = 1_000_000
    envs: int = 8
    rollout: int = 128
    """steps an environment between updates"""
    beta: float = 0.1
    """weight of the RND bonus"""
    seed: int = 0
    out: Path = Path("runs/sb3_ppo")

    @property
    def task(self) -> str:
        return self.env.rsplit("/", 1)[1].split("-")[1]  # viper/dmc-TASK-v0


def main(args: Args) -> None:
    venv = make_vec_env(args.env, args.envs, args.seed, env_kwargs={"checkpoint": None})
    venv = ViperVecEnvWrapper(
        venv, args.checkpoint, task=args.task, bonus="rnd", beta=args.beta, reward_clip="calibrated"
    )
    venv = VecFrameStack(venv, 3)
    model = PPO(
        "CnnPolicy",
        venv,
        n_steps=args.rollout,
        batch_size=min(256, args.rollout * args.envs),
        n_epochs=4,
        ent_coef=0.001,
        seed=args.seed,
        tensorboard_log=str(args.out),
        verbose=1,
    )
    model.learn(args.steps, callback=LogRewards(), log_interval=1)
    model.save(args.out / "policy.zip")


if __name__ == "__main__":
    main(tyro.cli(Args))
