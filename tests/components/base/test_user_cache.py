from components.base import user_cache


def test_it_is_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache.directory("features") == tmp_path / "vae_pipeline" / "features"


def test_without_a_choice_it_is_in_the_home_directory(monkeypatch, tmp_path):
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", value)
        monkeypatch.setenv("HOME", str(tmp_path))
        expected = tmp_path / ".cache" / "vae_pipeline" / "precision"
        assert user_cache.directory("precision") == expected
