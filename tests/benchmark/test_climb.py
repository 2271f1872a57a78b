"""What a reward pays on the way to the task, on numbers that are known."""

import numpy as np
import pytest

from brightness import brightness_model, video
from viper_gym.benchmark.audit import audit_task
from viper_gym.benchmark.climb import ENOUGH, climb, paid_by_share
from viper_gym.benchmark.task_audit import summary


def test_levels_are_means_over_the_steps_that_earn_a_share_of_the_experts_reward():
    task = np.repeat([0.0, 0.5, 1.0, 1.9, 2.0, 3.0], ENOUGH)  # the expert's is 2
    video_reward = np.repeat([-1.0, 0.1, 0.3, 0.7, 0.9, 1.1], ENOUGH)
    found = paid_by_share([video_reward[:60], video_reward[60:]], [task[:60], task[60:]], 2.0)
    expected = {"0-20%": -1.0, "20-40%": 0.1, "40-60%": 0.3, "80%+": 0.9}
    assert found == pytest.approx(expected)
    assert climb(found) == pytest.approx(1.3 / 1.9)


def test_few_steps_costs_and_unknown_experts_tell_nothing():
    paid, task = np.ones(ENOUGH - 1), np.zeros(ENOUGH - 1)
    assert paid_by_share([paid], [task], 1.0) == {}
    assert paid_by_share([paid] * 2, [task] * 2, 1.0) == {"0-20%": 1.0}
    assert paid_by_share([paid] * 2, [task] * 2, -1.0) == {}
    assert paid_by_share([paid] * 2, [task] * 2, float("nan")) == {}
    assert paid_by_share([], [], 1.0) == {}
    unknown = [np.zeros(ENOUGH), np.full(ENOUGH, np.nan)]
    assert paid_by_share([np.ones(ENOUGH)] * 2, unknown, 1.0) == {"0-20%": 1.0}


def test_no_climb_is_told_of_tasks_that_pay_all_or_nothing_or_where_nothing_rises():
    for levels in (
        {},
        {"0-20%": 0.0, "80%+": 1.0},
        {"0-20%": 0.5, "40-60%": 0.6, "80%+": 0.5},
        {"20-40%": 0.5, "80%+": 1.0},
    ):
        assert np.isnan(climb(levels))
    flat = {"0-20%": 0.03, "20-40%": 0.04, "60-80%": 0.07, "80%+": 0.83}
    assert climb(flat) == pytest.approx(0.05)
    assert climb({"0-20%": 0.0, "60-80%": 1.2, "80%+": 1.0}) == 1.0
    assert climb({"0-20%": 0.0, "60-80%": -0.2, "80%+": 1.0}) == 0.0


def test_an_audit_tells_it_within_calibrated_bounds():
    model = brightness_model()  # its scale: -20 nats a frame is 0, -10 is 1

    def played(level: float, reward: float):
        return video(np.full(80, level), reward)

    episodes = {
        "expert": [played(12, 1.0), played(12, 1.0), played(13, 1.0)],
        "zero": [played(1, 0.0)],
        "graded": [played(5, 0.3), played(9, 0.7), played(12, 0.9)],
    }
    audit, scored = audit_task(model, "a", episodes, cheap=("zero",))
    paid = [
        model.scaled(scored[name][i].log_prob, "a", clip="calibrated").mean()
        for name, i in (("zero", 0), ("graded", 0), ("graded", 1), ("graded", 2))
    ]
    assert list(audit.paid_by_share.values()) == pytest.approx(paid)
    assert summary(audit)["climb"] == pytest.approx((paid[2] - paid[0]) / (paid[3] - paid[0]))
