"""Names of runs and bundles that are compared."""

from viper_gym.benchmark.names import distinct_names


def test_as_many_parts_as_tell_paths_apart(tmp_path, monkeypatch):
    assert distinct_names(["runs/a/bundle"]) == ["bundle"]
    assert distinct_names(["runs/a/bundle", "runs/b/bundle"]) == ["a/bundle", "b/bundle"]
    assert distinct_names(["dmc", "you/walker"]) == ["dmc", "walker"]
    assert distinct_names(["runs/a", "runs/a"]) == ["runs/a", "runs/a"]
    assert distinct_names([]) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "task reward").symlink_to("run")
    monkeypatch.chdir(tmp_path / "run")
    assert distinct_names([".", "../task reward"]) == ["run", "task reward"]
