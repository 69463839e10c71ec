"""Settings that say more than a number."""

import pytest

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
