"""A bonus by name or as an object."""

from __future__ import annotations

import torch

from viper_gym.bonus.disagreement import Disagreement
from viper_gym.bonus.networks import both_sides
from viper_gym.bonus.rnd import RND
from viper_gym.errors import FrameMismatch
from viper_gym.types import Bonus

NAMES = ("rnd", "disagreement")


def check_bonus(bonus: str | Bonus | None) -> None:
    """Is this something `make_bonus` takes?

    Raises:
        ValueError: an unknown name, or an object without the protocol's methods.
    """
    made = isinstance(bonus, Bonus) and not isinstance(bonus, type)  # not the class itself
    known = bonus in NAMES if isinstance(bonus, str) else bonus is None or made
    if not known:
        names = " or ".join(repr(name) for name in NAMES)
        raise ValueError(
            f"bonus must be {names}, or an object with compute(), update() and state_dict() "
            f"(viper_gym.types.Bonus), got {bonus!r}"
        )


def name_of(bonus: str | Bonus | None) -> str | None:
    """The name `make_bonus` knows it by, or that of its class."""
    if bonus is None or isinstance(bonus, str):
        return bonus
    known = {RND: "rnd", Disagreement: "disagreement"}
    return known.get(type(bonus), type(bonus).__name__)


def make_bonus(bonus: str | Bonus, image_size: int | tuple[int, int]) -> Bonus:
    """The bonus itself.

    Args:
        bonus: a name, or the object that is returned.
        image_size: pixels of the frames: (height, width), or one number for both.

    Raises:
        ValueError: see `check_bonus`.
        FrameMismatch: the frames are too small for RND's network, or an `RND` was made for others.
    """
    check_bonus(bonus)
    if not isinstance(bonus, str):
        _check_size(bonus, both_sides(image_size))
        return bonus
    return RND(image_size) if bonus == "rnd" else Disagreement()


def move_bonus(bonus: Bonus, device: torch.device) -> None:
    """Put the networks of a bonus of this package on a device, with all that it learned."""
    if isinstance(bonus, (RND, Disagreement)):
        bonus.to(device)


def _check_size(bonus: Bonus, frames: tuple[int, int]) -> None:
    """Said where the bonus is chosen: else the first step would end in the sizes of matrices."""
    if isinstance(bonus, RND) and bonus.image_size != frames:
        (height, width), (made_height, made_width) = frames, bonus.image_size
        raise FrameMismatch(
            f"this RND is for frames of {made_height}x{made_width}, those here are "
            f"{height}x{width}: make it as RND(({height}, {width})), or pass bonus='rnd'"
        )
