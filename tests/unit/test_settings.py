"""Settings that say more than a number."""

import pytest
from redis.connection import parse_url

from shared.errors import OperatorError
from shared.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://hooks.example.com", "https://hooks.example.com"),
        ("https://hooks.example.com/", "https://hooks.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        # As Compose gives one that is not set.
        ("", "http://127.0.0.1:8080"),
    ],
)
def test_the_urls_of_endpoints_begin_with(given: str, base: str) -> None:
    assert Settings(public_url=given).public_url == base


def test_without_a_public_url_it_is_where_the_door_is() -> None:
    assert Settings(http_address="127.0.0.1:9000").public_url == "http://127.0.0.1:9000"
    assert Settings(http_address="0.0.0.0:9000").public_url == "http://127.0.0.1:9000"
    assert Settings(http_address="[::]:9000").public_url == "http://[::1]:9000"


@pytest.mark.parametrize(
    "wrong",
    [
        *("hooks.example.com", "ftp://hooks.example.com", "https://", "https://a b", "https://a:123456", "https://a\n"),
        *("https://hooks.example.com/in", "https://a?b", "https://a#b", "https://user@a"),
    ],
)
def test_a_public_url_is_told_what_it_should_be(wrong: str) -> None:
    with pytest.raises(OperatorError) as caught:
        load_settings(public_url=wrong)
    assert str(caught.value) == f"HOOKLINE_PUBLIC_URL is wrong: {wrong!r} is not https://host or https://host:port."


@pytest.mark.parametrize("processes", [0, 65])
def test_processes_are_between_1_and_64(processes: int) -> None:
    with pytest.raises(OperatorError, match="HOOKLINE_PROCESSES is wrong"):
        load_settings(processes=processes)


def test_with_tls_the_door_is_https_and_reflection_off_unless_it_is_said() -> None:
    secured = load_settings(tls_certificate="certificate.pem", http_address="127.0.0.1:9000")
    assert (secured.public_url, secured.reflects, secured.has_tls) == ("https://127.0.0.1:9000", False, True)
    assert load_settings(tls_certificate="certificate.pem", reflection=True).reflects
    assert (Settings().reflects, Settings(reflection=False).reflects, Settings().has_tls) == (True, False, False)
    # As Compose gives what is not set.
    assert load_settings(tls_client_ca="").tls_client_ca is None


@pytest.mark.parametrize(
    "url",
    [
        *("redis://127.0.0.1:6379/0", "rediss://user:word@redis.example.com", "redis://[::1]:6379", "redis:///0"),
        *("unix:///run/valkey.sock?db=0", "redis://:6379"),
    ],
)
def test_a_redis_is_named_as_its_client_takes_it(url: str) -> None:
    assert load_settings(redis_url=url).redis_url == url
    parse_url(url)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "wrong",
    [
        *("localhost:6379", "redis://", "redis:6379", "redis://host:word", "redis://:se/cret@host"),
        *("redis://host:70000", "http://host", "unix://", "unix:socket", "unix://socket", "/run/valkey.sock"),
    ],
)
def test_a_wrong_redis_url_is_told_what_it_should_be(wrong: str) -> None:
    with pytest.raises(OperatorError) as caught:
        load_settings(redis_url=wrong)
    assert str(caught.value) == (
        "HOOKLINE_REDIS_URL is wrong: it looks like redis://host:6379/0, rediss://host:6379/0 or unix:///path."
    )


def test_an_empty_redis_url_is_none() -> None:
    assert load_settings(redis_url="").redis_url is None


@pytest.mark.parametrize("name", ["HOOKLINE_REQUIRE_TOKEN", "hookline_require_token", "HOOKLINE_PORTS"])
def test_a_name_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(OperatorError) as caught:
        load_settings()
    assert str(caught.value) == f"{name.upper()} is no setting of Hookline; shared/settings.py lists them."


@pytest.mark.parametrize(
    "name",
    [
        *("HOOKLINE_REQUIRE_TOKENS", "hookline_require_tokens"),
        *("HOOKLINE_TOKEN", "HOOKLINE_COMPANY", "HOOKLINE_CREDENTIAL", "HOOKLINE_SANDBOX_EVENTS", "HOOKLINE_PROCESS"),
        # As Kubernetes has them, for services named "hookline" and "hookline-export".
        *("HOOKLINE_SERVICE_HOST", "HOOKLINE_SERVICE_PORT", "HOOKLINE_PORT", "HOOKLINE_PORT_50051_TCP_ADDR"),
        *("HOOKLINE_EXPORT_SERVICE_PORT_GRPC", "HOOKLINE_EXPORT_PORT", "HOOKLINE_EXPORT_PORT_50053_TCP"),
    ],
)
def test_settings_and_what_others_go_by_are_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    load_settings()
