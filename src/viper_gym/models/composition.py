"""Classes made of words: what a model learned of an arm and of a task serves the pair of them.

The cross-embodiment experiment (paper section 4.3) asks for the likelihood of a pair that no
video showed, whose class of its own would be untrained. So while the model trains, each class's
scale and shift are kept sums over the words of its name. A trained model is like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from viper_gym.models.transformer import TaskNorm


def sums_of_words(tasks: Sequence[str], seen: Collection[str]) -> Tensor:
    """The map from what the seen classes hold to the nearest sums of words, of all classes.

    Words are the parts of names between underscores, by place: "panda_door" is arm "panda", task
    "door". A word that no seen name has is the mean of the words that are seen in its place.

    Args:
        tasks: names in the order of the classes.
        seen: those that are trained on.

    Returns:
        float32 (classes, classes), zero in the columns of classes that are not seen.

    Raises:
        ValueError: names have different numbers of words, or only one.
    """
    names = [tuple(enumerate(task.split("_"))) for task in tasks]
    if len({len(name) for name in names}) != 1 or len(names[0]) < 2:
        raise ValueError(
            f"expected tasks of equally many words, e.g. 'panda_door', got {', '.join(tasks)}"
        )
    words = sorted({word for name in names for word in name})
    members = torch.tensor([[float(word in name) for word in words] for name in names])
    known = members * torch.tensor([float(task in seen) for task in tasks])[:, None]
    shown = known.any(0)
    for place in {place for place, _ in words}:
        here = torch.tensor([word[0] == place for word in words])
        strangers = members[:, here & ~shown].any(1)
        if (here & shown).any():
            members[strangers[:, None] & (here & shown)] = 1.0 / int((here & shown).sum())
    return members @ torch.linalg.pinv(known)


@torch.no_grad()
def compose_classes(model: nn.Module, sums: Tensor) -> None:
    """Make the classes of every norm sums of words, in place; after each step of an optimiser.

    Args:
        sums: float32 (classes, classes), see `sums_of_words`.
    """
    for norm in model.modules():
        if isinstance(norm, TaskNorm) and norm.conditional:
            for table in (norm.scale, norm.bias):  # (classes, D)
                table.copy_(sums.to(table) @ table)
