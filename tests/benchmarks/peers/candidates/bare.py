"""The call itself, which every candidate makes when it has to."""

from collections.abc import Mapping

import requests
from requests.adapters import HTTPAdapter

from tests.benchmarks.peers.candidates import LookUp, Record, Setting

SECONDS = 10.0
HEADERS = {"Accept": "application/json", "Authorization": "Bearer token-of-the-benchmark"}
MOST_CONNECTIONS = 64


def make(setting: Setting, _options: Mapping[str, str]) -> LookUp:
    return call_of(setting.upstream, prepared(requests.Session()))


def prepared(session: requests.Session) -> requests.Session:
    session.headers.update(HEADERS)
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=MOST_CONNECTIONS))
    session.trust_env = False
    return session


def call_of(upstream: str, session: requests.Session) -> LookUp:
    def call(ruc: str) -> Record:
        answer = session.get(url_of(upstream, ruc), timeout=SECONDS)
        answer.raise_for_status()
        record: Record = answer.json()
        return record

    return call


def url_of(upstream: str, ruc: str) -> str:
    return f"{upstream}/api/v2/ruc/{ruc}"
