"""A picture of what each game's mask hides.

    python tools/draw_masks.py --out docs/results/masks.png

A frame of random play of every game, as it is and with what the mask hides in red.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw

from viper_gym.envs.atari import ATARI_GAMES, AtariEnv, game_mask

SCALE, CAPTION, COLUMNS = 3, 14, 4


@dataclass
class Args:
    out: Path
    steps: int = 120
    """of random play before the frame"""


def frame_of(game: str, steps: int) -> np.ndarray:
    env = AtariEnv(game)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(steps):
        env.step(env.action_space.sample())
    frame = env.render()
    env.close()
    return frame


def main(args: Args) -> None:
    size = 64 * SCALE
    rows = -(-len(ATARI_GAMES) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (2 * size + 8), rows * (size + CAPTION + 8)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, game in enumerate(ATARI_GAMES):
        frame = frame_of(game, args.steps)
        hidden = np.where(game_mask(game)[..., None] == 1, frame, frame // 4 + [120, 0, 0])
        pair = Image.fromarray(np.concatenate([frame, hidden.astype(np.uint8)], axis=1))
        x = (number % COLUMNS) * (2 * size + 8)
        y = (number // COLUMNS) * (size + CAPTION + 8)
        draw.text((x, y), game, fill="black")
        sheet.paste(pair.resize((2 * size, size), Image.Resampling.NEAREST), (x, y + CAPTION))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.out, optimize=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
