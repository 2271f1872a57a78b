"""Reading the returns of training runs."""

import json

import numpy as np
import pytest

from viper_gym.benchmark.curves import read_metrics, training_returns
from viper_gym.errors import TrainingError


@pytest.mark.parametrize(
    ("line", "task", "viper"),
    [
        ({"phase": "train", "task_return": 3, "viper_return": 2}, 3, 2),
        ({"train/return": 2, "train/viper/return": 1.5, "train/viper/task_return": 3}, 3, 1.5),
        ({"train/return": 2, "train/task_return": 3}, 3, 2),  # relabelled
        ({"train/return": 2}, 2, np.nan),  # the task reward
    ],
)
def test_both_returns_of_every_kind_of_run(tmp_path, line, task, viper):
    ended = {"phase": "final", "step": 9, "task_return": 0, "viper_return": 0}
    rows = [{"step": 5, **line}, {"step": 6, "train/loss": 0.1}, ended]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 7, "tra')  # torn by a kill
    steps, tasks, vipers = training_returns(read_metrics(tmp_path))
    np.testing.assert_array_equal(steps, [5])
    np.testing.assert_array_equal(tasks, [task])
    np.testing.assert_array_equal(vipers, [viper])


def test_the_two_returns_of_a_relabelled_run_may_stand_in_two_lines():
    lines = [
        {"step": 2000, "train/task_return": 5},
        {"step": 2100, "train/loss": 1},
        {"step": 3000, "train/return": 900},
        {"step": 5000, "train/task_return": 6, "train/return": 800},
    ]
    steps, tasks, vipers = training_returns(lines)
    np.testing.assert_array_equal(steps, [3000, 5000])
    np.testing.assert_array_equal(tasks, [5, 6])
    np.testing.assert_array_equal(vipers, [900, 800])


def test_a_folder_without_metrics_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"no metrics\.jsonl in it"):
        read_metrics(tmp_path)
    assert [len(column) for column in training_returns([])] == [0, 0, 0]
