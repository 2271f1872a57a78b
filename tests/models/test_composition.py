"""Classes made of words."""

import pytest
import torch

from conftest import random_video_model
from viper_gym.models.composition import compose_classes, sums_of_words
from viper_gym.models.transformer import TaskNorm

TASKS = ("panda_lift", "panda_door", "sawyer_lift", "sawyer_door")


def test_an_unseen_pair_is_what_its_words_are_elsewhere():
    table = torch.tensor([[1.0], [2.0], [10.0], [999.0]])  # the last was never trained
    sums = sums_of_words(TASKS, TASKS[:3])
    torch.testing.assert_close(sums @ table, torch.tensor([[1.0], [2.0], [10.0], [11.0]]))
    torch.testing.assert_close(sums @ sums, sums)


def test_seen_classes_become_the_nearest_sums():
    table = torch.tensor([[1.0], [2.0], [10.0], [15.0]])  # 4 more than the sum of words
    fitted = sums_of_words(TASKS, TASKS) @ table
    torch.testing.assert_close(fitted, table + torch.tensor([[-1.0], [1.0], [1.0], [-1.0]]))


def test_a_word_that_nothing_shows_is_the_mean_of_the_others():
    seen = ("panda_lift", "sawyer_lift")
    sums = sums_of_words(TASKS, seen)
    fitted = sums @ torch.tensor([[3.0], [7.0], [5.0], [7.0]])
    assert fitted[0] == pytest.approx(3.0) and fitted[2] == pytest.approx(5.0)
    assert fitted[1] == pytest.approx(3.0) and fitted[3] == pytest.approx(5.0)
    four = ("panda_lift", "panda_stack", "sawyer_lift", "sawyer_stack")
    sums = sums_of_words((*four, "panda_door"), four)
    torch.testing.assert_close(sums @ torch.ones(5, 1), torch.ones(5, 1))
    fitted = sums @ torch.tensor([[1.0], [3.0], [5.0], [7.0], [99.0]])
    assert fitted[4] == pytest.approx(2.0)


def test_words_are_told_by_place():
    sums = sums_of_words(("a_b", "b_a", "a_a"), ("a_b",))  # "a" in the second place is unseen
    torch.testing.assert_close(sums[:, 0], torch.ones(3))
    for tasks in (("panda_lift", "door"), ("lift", "door")):
        with pytest.raises(ValueError, match="equally many words"):
            sums_of_words(tasks, tasks)


def test_every_norm_of_a_model_is_composed():
    model = random_video_model(classes=4)
    sums = sums_of_words(TASKS, TASKS[:3])
    compose_classes(model, sums)
    norms = [m for m in model.modules() if isinstance(m, TaskNorm)]
    assert len(norms) == 2 * model.config.num_layers + 1
    tables = [table for norm in norms for table in (norm.scale, norm.bias)]
    for table in tables:
        torch.testing.assert_close(table[0] + table[3], table[1] + table[2])
