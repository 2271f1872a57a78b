"""Loading from the Hub through its real client, against a Hub on the loopback interface."""

import json
import os
import subprocess
import sys
from hashlib import sha256

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.torch import load as read
from safetensors.torch import save

from hub_fixtures import FILES, NAME, WEIGHTS, changed, rewards
from viper_gym.checkpoints import index
from viper_gym.cli.evaluate import Evaluate
from viper_gym.errors import CheckpointError, HubUnavailable


def test_the_token_goes_to_the_hub_and_not_where_it_redirects_to(hub, files, load):
    hub.add(NAME, files, private=True)
    load(token="reader")
    sent = {r.path.split("/")[1]: r.token for r in hub.requests}
    assert sent["cdn"] is None
    assert {token for place, token in sent.items() if place != "cdn"} == {"reader"}


def test_only_the_files_of_a_bundle_are_asked_for(hub, files, load):
    hub.add(NAME, files)
    load()
    asked = {r.path.split("/", 5)[5] for r in hub.requests if "/resolve/" in r.path}
    assert asked == {*FILES, "README.md"}


# failures of a download, and the attempt after


def lock(hub, **options):
    for name, value in options.items():
        setattr(hub.repos[NAME], name, value)


FAILURES = {
    "wrong revision": (
        lambda hub: hub.repos[NAME].heads.pop("v1"),
        lambda hub: hub.repos[NAME].heads.update(v1=next(iter(hub.repos[NAME].commits))),
        CheckpointError,
        "no such revision",
    ),
    "private": (
        lambda hub: lock(hub, private=True),
        lambda hub: lock(hub, private=False),
        CheckpointError,
        "it is private.*hf auth login",
    ),
    "gated": (
        lambda hub: lock(hub, gated=True),
        lambda hub: lock(hub, gated=False),
        CheckpointError,
        "access is gated",
    ),
    "forbidden": (
        lambda hub: hub.answers.update({f"HEAD /{NAME}": 403}),
        lambda hub: hub.answers.clear(),
        CheckpointError,
        "no permission",
    ),
    "down": (
        lambda hub: hub.answers.update({"GET /api/models": 503}),
        lambda hub: hub.answers.clear(),
        HubUnavailable,
        "not serving now",
    ),
    "no network": (
        lambda hub: hub.unplug(),
        lambda hub: hub.plug_in(),
        HubUnavailable,
        "no connection.*refused.*local folder; local_files_only=True or HF_HUB_OFFLINE=1",
    ),
    "connection lost half-way": (
        lambda hub: hub.cuts.update({WEIGHTS: ("reset", 1)}),
        lambda hub: None,
        HubUnavailable,
        f"could not get {WEIGHTS} of .* broke off",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_download_that_fails_says_why_and_a_second_one_succeeds(hub, files, load, name):
    break_it, mend, kind, message = FAILURES[name]
    commit = hub.add(NAME, files)
    hub.repos[NAME].heads["v1"] = commit
    break_it(hub)
    with pytest.raises(CheckpointError, match=message) as caught:
        load("v1")
    mend(hub)
    assert caught.type is kind
    for part in (NAME, "'v1'", WEIGHTS, hub.url):
        assert part in str(caught.value)
    assert load("v1").tasks == ("a", "b")


def test_no_such_repository(hub, load):
    with pytest.raises(CheckpointError, match="no such repository"):
        load(token="reader")


def test_a_repository_without_weights_is_named_and_may_be_completed(hub, files, load):
    hub.add(NAME, {k: v for k, v in files.items() if k != WEIGHTS})
    with pytest.raises(CheckpointError, match=f"'{NAME}' at revision 'main' .* has no {WEIGHTS}"):
        load()
    hub.repos[NAME].commit(files)
    assert load().tasks == ("a", "b")


@pytest.mark.skipif(
    int(huggingface_hub.__version__.split(".")[0]) < 2, reason="earlier clients give up"
)
def test_a_cut_transfer_goes_on_where_it_broke_off(hub, files, load, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what reaches the disk at once
    hub.add(NAME, files)
    hub.cuts[WEIGHTS] = ("close", 1)
    assert load().tasks == ("a", "b")
    assert [r.range for r in hub.requests if r.range] == ["bytes=4096-"]


# the cache


def test_what_is_cached_is_loaded_without_a_request(hub, files, load, cache):
    commit = hub.add(NAME, files)
    first = rewards(load())
    hub.requests.clear()
    np.testing.assert_array_equal(rewards(load(commit)), first)
    np.testing.assert_array_equal(rewards(load(local_files_only=True)), first)
    code = (
        "from viper_gym import VideoRewardModel as M; "
        f"print(M.from_pretrained({NAME!r}, cache_dir={str(cache)!r}).tasks)"
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True)
    assert done.stdout.strip() == "('a', 'b')", done.stderr
    assert hub.requests == []


@pytest.mark.parametrize("switch", ["local_files_only", "HF_HUB_OFFLINE"])
def test_what_is_not_cached_is_not_asked_for_offline(hub, files, load, monkeypatch, switch):
    hub.add(NAME, files)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", switch == "HF_HUB_OFFLINE")
    only = switch == "local_files_only"
    with pytest.raises(HubUnavailable, match=f"'{NAME}' at revision 'main': config.json.*{switch}"):
        load(local_files_only=only)
    with pytest.raises(CheckpointError, match="force_download needs the Hub"):
        load(local_files_only=only, force_download=True)
    assert hub.requests == []


def test_a_branch_is_looked_up_once_and_followed(hub, files, load):
    hub.add(NAME, files)
    assert load().scale("a").low == -3.0
    hub.requests.clear()
    load()
    assert [r.path for r in hub.requests] == [f"/api/models/{NAME}/revision/main"]
    hub.repos[NAME].commit({"config.json": changed(files["config.json"])})
    assert load().scale("a").low == -4.0


@pytest.mark.parametrize("trouble", ["no network", "down"])
def test_without_the_hub_the_cached_branch_serves_and_the_log_says_so(
    hub, files, load, caplog, trouble
):
    break_it, *_ = FAILURES[trouble]
    commit = hub.add(NAME, files)
    load()
    break_it(hub)
    assert load().tasks == ("a", "b")
    with pytest.raises(HubUnavailable):
        load(force_download=True)
    assert "cannot be reached" in caplog.text and commit in caplog.text


def test_after_an_update_that_broke_off_the_cached_branch_still_serves(hub, files, load):
    hub.add(NAME, files)
    before = rewards(load())
    config = json.loads(files["config.json"]) | {"frame_stride": 1}
    weights = save(
        {k: v if k == "codebook" else v + 0.1 for k, v in read(files[WEIGHTS]).items()},
        {"format": "pt"},
    )
    hub.repos[NAME].commit({"config.json": json.dumps(config).encode(), WEIGHTS: weights})
    hub.cuts[WEIGHTS] = ("reset", 1)
    with pytest.raises(HubUnavailable):
        load()
    assert np.array_equal(rewards(load(local_files_only=True)), before)
    assert not np.array_equal(rewards(load()), before)


def test_a_repository_that_was_locked_does_not_go_on_silently(hub, files, load):
    hub.add(NAME, files)
    load()
    lock(hub, private=True)
    with pytest.raises(CheckpointError, match="private"):
        load()
    assert load(local_files_only=True).tasks == ("a", "b")


def test_a_forced_download_mends_the_cache(hub, files, load, cache):
    commit = hub.add(NAME, files)
    load()
    cached = cache / "models--lab--walker" / "snapshots" / commit / WEIGHTS
    cached.resolve().write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        load()
    assert load(force_download=True).tasks == ("a", "b")


# a row of checkpoints.json with repository, revision and sha256


@pytest.fixture
def row(hub, files, monkeypatch):
    """The alias "walk", pinned to a commit on the Hub, with the bundled model behind it."""
    hashes = {name: sha256(files[name]).hexdigest() for name in FILES}
    row = {
        "bundled": "dmc-small",
        "repo_id": NAME,
        "revision": hub.add(NAME, files),
        "sha256": hashes,
        "tasks": ["a", "b"],
    }
    monkeypatch.setattr(index, "_index_text", lambda: json.dumps({"walk": row}))
    return row


def test_an_alias_is_its_pinned_commit(hub, files, load, row):
    hub.repos[NAME].commit({"config.json": changed(files["config.json"])})
    assert load(checkpoint="walk").scale("a").low == -3.0
    assert load("main", checkpoint="walk").scale("a").low == -4.0  # and has no digests


def test_a_file_that_arrived_altered_is_fetched_anew(hub, load, row, caplog):
    hub.damage[WEIGHTS] = 1
    assert load(checkpoint="walk").tasks == ("a", "b")
    assert f"{WEIGHTS} differs from its sha256" in caplog.text


def test_a_file_that_stays_altered_is_refused_until_it_is_right(hub, load, row):
    hub.damage[WEIGHTS] = 2
    with pytest.raises(CheckpointError) as caught:
        load(checkpoint="walk")
    message = str(caught.value)
    for part in (NAME, row["revision"], WEIGHTS, row["sha256"][WEIGHTS], "delete it"):
        assert part in message
    assert "tokenizer" not in message
    hub.unplug()
    with pytest.raises(CheckpointError, match="pins by sha256"):
        load(checkpoint="walk")  # what is wrong in the cache does not serve either
    with pytest.raises(CheckpointError, match="pins by sha256"):
        load(checkpoint="walk", local_files_only=True)
    hub.plug_in()
    assert load(checkpoint="walk").tasks == ("a", "b")


def test_the_bundled_model_replaces_an_unreachable_hub_and_nothing_else(hub, load, row, caplog):
    hub.unplug()
    assert "cheetah_run" in load(checkpoint="walk").tasks
    assert "using the bundled small checkpoint" in caplog.text
    with pytest.raises(HubUnavailable):
        load("v2", checkpoint="walk")
    hub.plug_in()
    lock(hub, private=True)
    with pytest.raises(CheckpointError, match="private"):
        load(checkpoint="walk")


def test_a_suite_without_a_repository_has_no_revisions(load):
    with pytest.raises(CheckpointError, match="not on the Hub yet"):
        load("v2", checkpoint="dmc")


def test_a_pinned_commit_is_not_recalibrated_in_the_cache(hub, files, load, cache, tmp_path):
    """The same commit would be another reward from then on."""
    hub.add(NAME, files)
    load()
    with pytest.raises(CheckpointError, match="write it to a folder first"):
        Evaluate(NAME, episodes=tmp_path, calibrate=True, json=True).run()
    with pytest.raises(CheckpointError, match="write it to a folder first"):
        Evaluate(NAME, episodes=tmp_path, write=True, json=True).run()
    (config,) = cache.rglob("config.json")
    with pytest.raises(CheckpointError, match="write it to a folder first"):
        Evaluate(str(config.parent), episodes=tmp_path, write=True, json=True).run()
    (tmp_path / "link").symlink_to(config.parent)
    with pytest.raises(CheckpointError, match="write it to a folder first"):
        Evaluate(str(tmp_path / "link"), episodes=tmp_path, write=True, json=True).run()


def test_a_cache_in_the_home_directory_may_be_named_as_usual(
    hub, files, load, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    hub.add(NAME, files)
    assert load(cache_dir="~/mine").tasks == ("a", "b")
    assert list((tmp_path / "mine").rglob("config.json"))
