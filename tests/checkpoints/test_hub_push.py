"""Publishing on the Hub through its real client, and loading what was published."""

import json
import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from hub_fixtures import FILES, NAME, WEIGHTS, changed, rewards
from viper_gym import VideoRewardModel
from viper_gym.checkpoints.bundle import load_bundle
from viper_gym.checkpoints.card import keep_pictures, model_card
from viper_gym.checkpoints.hub import upload
from viper_gym.checkpoints.hub_options import HubOptions
from viper_gym.checkpoints.resolve import resolve
from viper_gym.errors import CheckpointError


def test_a_pushed_model_gives_the_same_rewards(hub, bundle, load, cache):
    model = VideoRewardModel(load_bundle(bundle), "cpu", "fp32")
    pushed = model.push_to_hub(NAME, private=True, token="writer")
    assert pushed.url == f"{hub.url}/{NAME}/commit/{pushed.commit}"
    assert hub.repos[NAME].private
    assert set(hub.repos[NAME].commits[pushed.commit]) == {*FILES, "README.md", ".gitattributes"}
    back = load(pushed.commit, token="reader")
    np.testing.assert_array_equal(rewards(back), rewards(model))
    snapshot = resolve(NAME, pushed.commit, HubOptions(cache))
    for name, expected in pushed.sha256.items():
        assert sha256((snapshot / name).read_bytes()).hexdigest() == expected


def test_a_card_is_made_with_metadata_and_usage(hub, bundle):
    commit = upload(bundle, NAME, token="writer", license="cc-by-4.0").commit
    card = ModelCard(hub.repos[NAME].commits[commit]["README.md"].decode())
    assert (card.data.library_name, card.data.license) == ("viper_gym", "cc-by-4.0")
    assert {"reinforcement-learning", "gymnasium", "viper"} <= set(card.data.tags)
    assert f'ViperRewardWrapper(env, "{NAME}", task="a")' in card.text
    assert "-3.00 | -1.00" in card.text
    assert not (bundle / "README.md").exists()  # the folder stays as it was


def test_ones_own_card_travels_with_the_model(hub, bundle, files, load):
    hub.add(NAME, files)
    commit = load().push_to_hub("lab/copy", token="writer").commit
    assert hub.repos["lab/copy"].commits[commit]["README.md"] == files["README.md"]
    (bundle / "README.md").write_bytes(files["README.md"])
    with pytest.raises(CheckpointError, match=r"metadata of its README\.md"):
        upload(bundle, NAME, token="writer", license="mit")


def test_a_card_that_nobody_edited_is_made_for_the_repository(hub, bundle):
    (bundle / "README.md").write_text(model_card(load_bundle(bundle).config), "utf-8")
    commit = upload(bundle, NAME, token="writer", license="mit").commit
    card = ModelCard(hub.repos[NAME].commits[commit]["README.md"].decode())
    assert card.data.license == "mit" and f'"{NAME}"' in card.text


def test_the_cards_pictures_are_sent_and_shown(hub, bundle, tmp_path, load):
    (tmp_path / "a_rewards.png").write_bytes(b"curves")
    keep_pictures(bundle, [tmp_path / "a_rewards.png", tmp_path / "a_rollout.gif"])
    (bundle / "pictures" / "notes.txt").write_text("not sent")
    commit = upload(bundle, NAME, token="writer").commit
    files = hub.repos[NAME].commits[commit]
    assert files["pictures/a_rewards.png"] == b"curves"
    assert "![a rewards](pictures/a_rewards.png)" in files["README.md"].decode()
    assert "pictures/notes.txt" not in files
    assert load().tasks  # loading takes what it takes of others
    load().save_pretrained(bundle)  # other weights: the pictures were of those before
    assert not list((bundle / "pictures").iterdir())


def test_a_second_push_keeps_the_licence(hub, bundle, load):
    upload(bundle, NAME, token="writer", license="cc-by-nc-4.0")
    for license, expected in ((None, "cc-by-nc-4.0"), ("mit", "mit")):
        commit = load().push_to_hub("lab/copy", token="writer", license=license).commit
        card = ModelCard(hub.repos["lab/copy"].commits[commit]["README.md"].decode())
        assert card.data.license == expected


def test_a_second_push_from_a_folder_without_a_card_keeps_the_licence(hub, bundle, cache):
    for license in ("cc-by-nc-4.0", None):
        commit = upload(bundle, NAME, token="writer", license=license).commit
        card = ModelCard(hub.repos[NAME].commits[commit]["README.md"].decode())
        assert card.data.license == "cc-by-nc-4.0"
    assert not list(cache.rglob("README.md"))  # a lone card would be taken for the newest version


def test_branches_and_pull_requests(hub, files, bundle, load):
    first = hub.add(NAME, {**files, "config.json": changed(files["config.json"])})
    model = VideoRewardModel(load_bundle(bundle), "cpu", "fp32")
    model.push_to_hub(NAME, token="writer", revision="new", commit_message="Try this")
    assert hub.repos[NAME].heads["main"] == first
    assert hub.repos[NAME].messages == ["Try this"]
    assert (load("new").scale("a").low, load().scale("a").low) == (-3.0, -4.0)
    pushed = model.push_to_hub(NAME, token="writer", create_pr=True)
    assert pushed.url == f"{hub.url}/{NAME}/discussions/1"
    assert load(pushed.commit).scale("a").low == -3.0
    with pytest.raises(CheckpointError, match="leave revision out"):
        model.push_to_hub(NAME, token="writer", create_pr=True, revision="new")


def test_a_broken_bundle_is_refused_before_anything_is_sent(hub, bundle):
    weights = load_file(bundle / WEIGHTS)
    save_file({**weights, "start": weights["start"] * float("nan")}, bundle / WEIGHTS)
    with pytest.raises(CheckpointError, match="start has NaN"):
        upload(bundle, NAME, token="writer")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("prepare", "token", "message"),
    [
        (lambda hub: None, None, "no permission"),
        (lambda hub: None, "reader", "no permission.*may not create"),
        (lambda hub: hub.add(NAME, {}), "reader", "no permission.*write permission"),
        (lambda hub: None, "stolen", "no permission.*Invalid credentials"),
        (lambda hub: hub.answers.update({"/commit/": 400}), "writer", "the Hub refused"),
        (lambda hub: hub.answers.update({"/commit/": 500}), "writer", "not serving now"),
        (lambda hub: hub.unplug(), "writer", "no connection"),
    ],
)
def test_a_push_that_fails_says_why_and_a_second_one_succeeds(
    hub, bundle, load, prepare, token, message
):
    prepare(hub)
    with pytest.raises(CheckpointError, match=message) as caught:
        upload(bundle, NAME, token=token)
    assert f"could not push {bundle} to '{NAME}'" in str(caught.value)
    assert "local_files_only" not in str(caught.value)  # which is of downloads
    hub.plug_in()
    hub.answers.clear()
    upload(bundle, NAME, token="writer")
    assert load().tasks == ("a", "b")


def test_a_repository_cannot_have_any_name(hub, bundle, load):
    with pytest.raises(CheckpointError, match="cannot be a repository"):
        load(checkpoint="lab/-walker-")
    with pytest.raises(CheckpointError, match="could not push"):
        upload(bundle, "lab/-walker-", token="writer")
    with pytest.raises(CheckpointError, match="expected owner/name, got 'walker'"):
        upload(bundle, "walker", token="writer")
    assert hub.requests == []


# the command


def push(*arguments: object, token: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "viper_gym", "push", *map(str, arguments)]
    environment = {**os.environ, "HF_TOKEN": token}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_command_prints_what_pins_the_commit(hub, bundle, load):
    done = push(bundle, NAME, "--private", "--message", "First", "--json", token="writer")
    pushed = json.loads(done.stdout)
    assert hub.repos[NAME].private and hub.repos[NAME].messages == ["First"]
    assert pushed["commit"] == hub.repos[NAME].heads["main"]
    assert pushed["url"].endswith(pushed["commit"])
    assert pushed["sha256"][WEIGHTS] == sha256((bundle / WEIGHTS).read_bytes()).hexdigest()


def test_the_command_names_what_failed(hub, bundle):
    done = push(bundle, NAME, token="reader")
    assert done.returncode == 2
    assert "CheckpointError: could not push" in done.stderr and "Traceback" not in done.stderr


def test_the_command_says_that_the_name_of_a_suite_is_only_its_first_bundle(hub):
    done = push("dmc", NAME, token="writer")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "'dmc' is one bundle of several, that of cup_catch" in told
    assert "'dmc-5': cartpole_swingup, cheetah_run" in told
    assert "one bundle" not in push("dmc-5", NAME, token="writer").stderr
