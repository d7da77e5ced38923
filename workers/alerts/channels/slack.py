"""Slack, through an incoming webhook, laid out with Block Kit. The webhook's address is a secret."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from django.conf import settings

from workers.alerts.messages import Message, Problem
from workers.alerts.post import post

# Slack refuses the whole message (400 invalid_blocks) when one of these is exceeded
MAX_BLOCKS, MAX_HEADER, MAX_SECTION, MAX_FIELDS, MAX_FIELD = 50, 150, 3000, 10, 2000
MAX_TEXT = 4000
ELLIPSIS = "…"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

Block = dict[str, Any]


class SlackChannel:
    name = "slack"
    setting = "SLACK_WEBHOOK_URL"

    @staticmethod
    def configured() -> bool:
        return bool(settings.SLACK_WEBHOOK_URL)

    def send(self, message: Message) -> None:
        post(settings.SLACK_WEBHOOK_URL, headers={"Accept": "*/*"}, json=payload(message))


def payload(message: Message) -> Block:
    """`text` is what notifications and screen readers show; Slack shows the blocks."""
    return {"text": fit(message.text, MAX_TEXT), "blocks": blocks(message)}


def blocks(message: Message) -> list[Block]:
    head = [_header(message.title), _section(escape(message.summary)), _fields(message)]
    foot = [_context(_link(message.link, message.link_text))]
    room = MAX_BLOCKS - len(head) - len(foot) - 1
    problems = [_section(_problem(problem)) for problem in message.problems[:room]]
    if (left := len(message.problems) - room) > 0:
        problems.append(_context(f"+ {left}"))
    return [*head, *problems, *foot]


def _header(title: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": fit(title, MAX_HEADER), "emoji": False}}


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}


def _fields(message: Message) -> Block:
    fields = [f"*{fit(name, 100)}*\n{fit(value, MAX_FIELD - 200)}" for name, value in message.details[:MAX_FIELDS]]
    return {"type": "section", "fields": [{"type": "mrkdwn", "text": text} for text in fields]}


def _problem(problem: Problem) -> str:
    what, *explanation = (fit(line, 700) for line in problem.lines())
    return "\n".join([f"*{what}*", *explanation, _link(problem.runbook, problem.code)])


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
