"""The model card: metadata that the Hub reads, and text that is true of the bundle."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from conftest import small_bundle
from viper_gym.checkpoints.bundle import CARD, read_config
from viper_gym.checkpoints.card import is_generated, model_card
from viper_gym.checkpoints.index import read_index
from viper_gym.checkpoints.resolve import resolve


def test_the_card_of_the_bundled_model():
    config = read_config(resolve("dmc"))
    card = ModelCard(model_card(config))
    assert (card.data.library_name, card.data.license) == ("viper_gym", "mit")
    assert {"reinforcement-learning", "gymnasium", "viper"} <= set(card.data.tags)
    assert 'gym.make("viper/dmc-cup_catch-v0")' in card.text  # that of its tasks which it serves
    assert "policies and scripts" in card.text
    for task, figures in config.evaluation["tasks"].items():
        assert (
            f"| {task} | {figures['auroc_random']:.2f} | {figures['spearman']:.2f} |" in card.text
        )
    assert "take cup_catch from it" in card.text
    assert "8 frames in training, 4 in rewards (exact)" in card.text
    assert (resolve("dmc") / CARD).read_text() == model_card(config)  # as `evaluate --write` does


def test_the_usage_names_the_repository():
    config = read_config(resolve("dmc"))
    assert 'cup_catch-v0", checkpoint="lab/dmc")' in model_card(config, "lab/dmc")


def test_the_usage_is_of_the_bundle_that_was_audited_by_its_suites_name():
    """`evaluate --suite dmc --tasks cheetah_run` audits the fifth bundle as "dmc"."""
    config = read_config(resolve("dmc-5"))
    figures = {"cheetah_run": config.evaluation["tasks"]["cheetah_run"]}
    told = {"command": "viper-gym evaluate --checkpoint dmc --suite dmc --write", "tasks": figures}
    card = model_card(replace(config, evaluation=told))
    assert f'gym.make("viper/dmc-{read_index()["dmc-5"].tasks[0]}-v0")' in card


def test_a_card_with_an_older_usage_was_not_edited():
    config = read_config(resolve("dmc"))
    card = model_card(config)
    assert is_generated(card.replace("cup_catch-v0", "cartpole_swingup-v0"))
    assert is_generated(model_card(replace(config, evaluation={})))  # for other figures, too
    assert not is_generated(card + "Mine.\n") and not is_generated("Mine.\n" + card)
    assert not is_generated(card.replace("Escontrela", "Us"))


def test_the_usage_of_ones_own_bundle_of_a_suites_tasks_is_not_that_of_the_suites():
    config = replace(read_config(resolve("dmc")), evaluation={})
    line = f'{config.tasks[0]}-v0", checkpoint="folder/of/this/bundle")'
    assert line in model_card(config)


@pytest.mark.parametrize("preprocessing", [{}, {"a": {"camera": 0}}])
def test_nothing_is_claimed_of_models_made_of_other_videos(preprocessing):
    config = replace(small_bundle().config, preprocessing=preprocessing)
    card = ModelCard(model_card(config))
    assert card.data.license == "unknown"
    assert "not recorded" in card.text and "scripts" not in card.text
    assert ModelCard(model_card(config, license="cc0-1.0")).data.license == "cc0-1.0"


def test_the_usage_draws_as_the_bundles_videos_were_drawn():
    config = replace(read_config(resolve("dmc")), evaluation={})
    task = config.tasks[0]
    said = {
        "image_size": 84,
        "camera": 1,
        "fovy": None,
        "action_repeat": 4,
        "resized_from": [84, 84],
    }
    mine = replace(config, preprocessing={task: said})
    usage = model_card(mine).split("```python\n")[1].split("```")[0]
    checked = usage.replace("folder/of/this/bundle", "FOLDER").split("env = ")[1]
    made = eval(checked, {"gym": SimpleNamespace(make=lambda *a, **k: (a, k))})
    assert made == (
        (f"viper/dmc-{task}-v0",),
        {
            "checkpoint": "FOLDER",
            "view": {"image_size": 84, "camera": 1, "fovy": None, "see_through": []},
            "action_repeat": 4,
        },
    )
    rlbench = {"image_size": 64, "camera": "front", "fovy": None, "robot": "sawyer"}
    usage = model_card(replace(config, preprocessing={task: rlbench}))
    assert "    view={'image_size': 64},\n    env_kwargs={'robot': 'sawyer'},\n)" in usage
