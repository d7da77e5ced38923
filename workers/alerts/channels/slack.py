"""Slack, through an incoming webhook, laid out with Block Kit. The webhook's address is a secret."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from django.conf import settings

from workers.alerts.messages import Message
from workers.alerts.post import post
from workers.alerts.problems import Problem

# Slack refuses the whole message (400 invalid_blocks) when one of these is exceeded
MAX_BLOCKS, MAX_HEADER, MAX_SECTION, MAX_FIELDS, MAX_FIELD = 50, 150, 3000, 10, 2000
MAX_TEXT = 4000
# Of ours, so that one long line leaves room for the others
MAX_LINE = 1200
ELLIPSIS = "…"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

Block = dict[str, Any]


class SlackChannel:
    setting = "SLACK_WEBHOOK_URL"

    def __init__(self, address: str) -> None:
        self._url = address

    @staticmethod
    def addresses() -> list[str]:
        return [settings.SLACK_WEBHOOK_URL] if settings.SLACK_WEBHOOK_URL else []

    def send(self, message: Message) -> None:
        post(self._url, headers={"Accept": "*/*"}, json=payload(message))


def payload(message: Message) -> Block:
    """`text` is what notifications and screen readers show; Slack shows the blocks."""
    text = fit(message.text, MAX_TEXT)
    return {"text": text, "blocks": blocks(message), "link_names": False, "unfurl_links": False}


def blocks(message: Message) -> list[Block]:
    head = [_header(message.title), _section(fit(message.summary, MAX_SECTION)), _fields(message)]
    foot = [_context(_link(message.link, message.link_text))]
    room = MAX_BLOCKS - len(head) - len(foot) - 1
    problems = [_section(_problem(problem)) for problem in message.problems[:room]]
    if (left := len(message.problems) - room) > 0:
        problems.append(_context(f"+ {left}"))
    return [*head, *problems, *foot]


def _header(title: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": fit(title, MAX_HEADER), "emoji": False}}


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_mrkdwn(text)]}


def _mrkdwn(text: str) -> Block:
    """Verbatim: a node that is called "@here" or "#general" calls nobody."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _fields(message: Message) -> Block:
    fields = [f"*{fit(name, 100)}*\n{fit(value, MAX_FIELD - 200)}" for name, value in message.details[:MAX_FIELDS]]
    return {"type": "section", "fields": [_mrkdwn(text) for text in fields]}


def _problem(problem: Problem) -> str:
    """The links always; of the lines what there is room for."""
    links = " · ".join([_link(problem.link, _name(problem)), _link(problem.runbook, problem.code)])
    text = f"*{fit(problem.title, 300)}*"
    for line in problem.lines():
        if (room := MAX_SECTION - len(links) - len(text) - 2) > len(ELLIPSIS):
            text += "\n" + fit(line, min(MAX_LINE, room))
    return f"{text}\n{links}"


def _name(problem: Problem) -> str:
    first, *_rest, last = sorted(step["incident"] for step in [problem.steps[0], *problem.steps])
    return f"#{first}" if first == last else f"#{first} … #{last}"


def _link(address: str, text: str) -> str:
    """A runbook inside the repository has a path, no address: shown, not linked."""
    if address.startswith(("http://", "https://")):
        return f"<{fit(address, 500)}|{fit(text, 100)}>"
    return f"`{fit(address, 500)}`"


def escape(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in text)


def fit(text: str, limit: int) -> str:
    """Escaped and at most `limit` long, never cut inside an entity."""
    escaped = escape(text)
    if len(escaped) <= limit:
        return escaped
    lengths = accumulate(len(_ESCAPES.get(sign, sign)) for sign in text)
    kept = sum(length <= limit - len(ELLIPSIS) for length in lengths)
    return escape(text[:kept]) + ELLIPSIS
