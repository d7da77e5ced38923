import pytest

from api_service.services import providers
from api_service.services.migo_client import MigoClient
from api_service.services.providers import TABLE, provider


@pytest.fixture(autouse=True)
def _built_anew() -> None:
    provider.cache_clear()


@pytest.mark.parametrize("name", TABLE)
def test_every_row_of_the_table_is_a_provider_of_that_name(name: str) -> None:
    built = provider(name)
    assert built.name == name
    assert built is provider(name)
    assert all(callable(getattr(built, member)) for member in ("validate", "fetch", "fetch_many", "from_settings"))


def test_an_unknown_provider_names_the_known_ones() -> None:
    with pytest.raises(LookupError, match=r"nubefact.*migo"):
        provider("nubefact")


def test_another_provider_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(providers.TABLE, "sunat", f"{MigoClient.__module__}.MigoClient")
    assert isinstance(provider("sunat"), MigoClient)
