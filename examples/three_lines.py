"""The three lines that turn an environment's reward into a video model's.

python examples/three_lines.py
"""

import gymnasium as gym

import viper_gym  # 1

TASK = "cartpole_swingup"


def main(steps: int = 20) -> None:
    env = gym.make(f"viper/dmc-{TASK}-v0", checkpoint=None)  # or any environment of yours
    env = viper_gym.ViperRewardWrapper(env, "dmc", task=TASK)  # 2: suite, folder or Hub repository

    env.action_space.seed(0)
    env.reset(seed=0)
    for step in range(steps):
        _, reward, _, _, info = env.step(env.action_space.sample())
        task_reward = info["viper/task_reward"]  # 3: what the agent no longer sees
        print(f"step {step:2}  video reward {reward:6.2f}  task reward {task_reward:.3f}")


if __name__ == "__main__":
    main()
