"""Where a setting comes from, and what is refused."""

import os
from pathlib import Path

import pytest

from engine.runtimes import RUNTIMES
from engine.runtimes.buckets import BUCKETS
from engine.server.settings import Runtime, SettingsError, load_settings, misspelt_variables


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HIPER_PORT", "HIPER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hiper.toml"


def test_defaults_are_a_server_for_this_machine_only() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.bundle, settings.model) == ("127.0.0.1", 8910, None, "menagerie")
    assert settings.buckets == BUCKETS and settings.max_body_bytes == 20 * 2**20


def test_the_runtimes_are_engines() -> None:
    assert set(Runtime.__args__) == {"auto", *RUNTIMES}


def test_options_come_before_environment_before_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('port = 1\nmetrics_port = 1\ndrain_s = 1\nmax_body_bytes = "1 MiB"\nbuckets = [1, 2]\n')
    monkeypatch.setenv("HIPER_PORT", "2")
    monkeypatch.setenv("HIPER_METRICS_PORT", "2")
    settings = load_settings(file, port=3, drain_s=None)
    assert (settings.port, settings.metrics_port, settings.drain_s) == (3, 2, 1.0)
    assert (settings.max_body_bytes, settings.buckets) == (2**20, (1, 2))


@pytest.mark.parametrize("text", ["1,2,8", "1 2 8", "1, 2, 8"])
def test_lists_in_the_environment_are_plain_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIPER_BUCKETS", text)
    monkeypatch.setenv("HIPER_ALLOWED_HOSTS", "a.example,b.example")
    settings = load_settings()
    assert settings.buckets == (1, 2, 8) and settings.allowed_hosts == ("a.example", "b.example")


def test_the_builds_variables_are_none_of_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIPER_CUDA", "ON")
    load_settings()


def test_a_misspelt_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("HIPER_"):
            monkeypatch.delenv(name)
    for name in ("HIPER_MAX_EDITS", "hiper_port", "HIPER_CONFIG", "HIPER_NATIVE", "HIPERACTIVE"):
        monkeypatch.setenv(name, "1")
    assert misspelt_variables() == []
    monkeypatch.setenv("HIPER_MAX_EDIT", "1")
    monkeypatch.setenv("HIPER_XYZZY", "1")
    like, unlike = misspelt_variables()
    assert like.startswith("HIPER_MAX_EDIT is no setting, and is not looked at, HIPER_MAX_EDITS would be; see")
    assert unlike == "HIPER_XYZZY is no setting, and is not looked at; see hiper-serve --help"


def test_home_is_found() -> None:
    assert load_settings(data_dir="~/x").data_dir == Path.home() / "x"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"port": 65536}, "setting port is 65536"),
        ({"buckets": (2, 2)}, "setting buckets is (2, 2)"),
        ({"buckets": ()}, "growing numbers"),
        ({"runtime": "cuda"}, "setting runtime is 'cuda'"),
        ({"drain_s": -1}, "setting drain_s is -1"),
        ({"replicas": "0"}, "setting replicas is '0'"),
        ({"replicas": "4:2"}, "two growing ones, like 2 or 1:4"),
        ({"prot": 1}, "setting prot is 1"),
    ],
)
def test_impossible_values_are_named(given: dict[str, object], found: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**given)
    assert found in str(caught.value) and str(caught.value).endswith("see hiper-serve --help")


@pytest.mark.parametrize(
    ("text", "found"),
    [("prot = 1", "setting prot is 1"), ("port", "is no TOML"), ("port = 'x'", "setting port is 'x'")],
)
def test_a_wrong_file_is_refused(file: Path, text: str, found: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=found):
        load_settings(file)


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(SettingsError, match="is no file but was named as configuration"):
        load_settings(file)
