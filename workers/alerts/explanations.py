"""What each finding means and what to do: one row per code of `health_rules` and `money_rules` in
`api_service.services`.

The runbook (`docs/runbook.md`) has a heading for every code.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from workers.alerts.facts import StepFacts


@dataclass(frozen=True, slots=True)
class Explanation:
    """`what` may name %(node)s, %(value)s and %(limit)s; a number of those is written as number × factor + unit."""

    what: Promise
    meaning: Promise
    next_step: Promise
    unit: str = ""
    factor: int = 1
    # The likely cause, in a sentence
    cause: Promise | str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """The same of one finding, in the active language. `cause` is empty where none is likelier than others."""

    what: str
    meaning: str
    next_step: str
    cause: str


TABLE: dict[str, Explanation] = {
    "node_down": Explanation(
        gettext_lazy("Node %(node)s does not answer: %(value)s"),
        gettext_lazy("Its answers are lost: those look-ups are slow again and each is a paid query to APIMIGO."),
        gettext_lazy("See whether its process runs and its port is reachable, and start it again. It fills by itself."),
        cause=gettext_lazy("Its process has ended (memory, deployment, machine), or the network to it is cut."),
    ),
    "node_restarted": Explanation(
        gettext_lazy("Node %(node)s was restarted and is empty"),
        gettext_lazy("Its look-ups are slow and paid until the warm-up has loaded the frequent RUCs again."),
        gettext_lazy("Find out why (memory, deployment, crash). The warm-up runs by itself every 5 minutes."),
        cause=gettext_lazy("A deployment, a crash, or the system ended it for lack of memory."),
    ),
    "node_slow": Explanation(
        gettext_lazy("Node %(node)s answers in %(value)s (limit %(limit)s)"),
        gettext_lazy("Every look-up waits that much longer, also those that are in the cache."),
        gettext_lazy("Look at the load of the machine and the network between it and the application."),
        " ms",
        cause=gettext_lazy("Load on its machine, or on the network on the way."),
    ),
    "evictions_high": Explanation(
        gettext_lazy("Node %(node)s throws away %(value)s answers a minute (limit %(limit)s)"),
        gettext_lazy("Answers leave the cache before their time is over, and are paid for again."),
        gettext_lazy("Give the node more memory (-m), or add a node."),
        cause=gettext_lazy("More answers than fit: more traffic, longer life times, or a node less."),
    ),
    "memory_high": Explanation(
        gettext_lazy("Node %(node)s uses %(value)s of its memory (limit %(limit)s) and throws answers away"),
        gettext_lazy("Soon answers leave the cache before their time is over, and are paid for again."),
        gettext_lazy("Give the node more memory (-m) before it runs short."),
        " %",
        100,
        cause=gettext_lazy("More answers than fit are about to be kept."),
    ),
    "connections_high": Explanation(
        gettext_lazy("Node %(node)s uses %(value)s of its connections (limit %(limit)s)"),
        gettext_lazy("When they are used up, new connections wait and look-ups go past the cache to APIMIGO."),
        gettext_lazy("Raise the limit (-c), or find the client that leaves connections open."),
        " %",
        100,
        cause=gettext_lazy("More processes than planned for, or a client that opens connections and leaves them."),
    ),
    "upstream_refused": Explanation(
        gettext_lazy("%(node)s refuses the token or the plan: %(value)s"),
        gettext_lazy("What is in the cache is served. Every other look-up fails."),
        gettext_lazy("Check MIGO_TOKEN, and that the plan has queries left and is paid."),
        cause=gettext_lazy("The token was changed or revoked, the plan has ended, or it does not include this query."),
    ),
    "stale_served": Explanation(
        gettext_lazy("Old answers of %(node)s are shown: %(value)s"),
        gettext_lazy("Users see what was true some time ago: no newer answer can be had."),
        gettext_lazy("See why: APIMIGO down, a limit reached, the token refused. The answers say that they are old."),
        cause=gettext_lazy("APIMIGO fails, a limit of paid queries is reached, or the token is refused."),
    ),
    "budget_low": Explanation(
        gettext_lazy("%(node)s: %(value)s of at most %(limit)s paid queries are spent"),
        gettext_lazy(
            "Warming has stopped or soon will. At the limit every look-up that the cache cannot answer fails."
        ),
        gettext_lazy("See who spends them (paid queries by hour), and raise the limit or lower the warm-up."),
        cause=gettext_lazy("More new RUCs than usual, a cache that was emptied, or a warm-up that is too large."),
    ),
    "budget_exhausted": Explanation(
        gettext_lazy("%(node)s: the limit of %(limit)s paid queries is reached (%(value)s)"),
        gettext_lazy("What is in the cache is served. Every other look-up fails until the period is over."),
        gettext_lazy("Raise MIGO_MAX_PER_HOUR, MIGO_MAX_PER_DAY or MIGO_MAX_PER_MONTH, or wait for the next period."),
        cause=gettext_lazy("More new RUCs than usual, a cache that was emptied, or a limit that is too low."),
    ),
    "account_low": Explanation(
        gettext_lazy(
            "%(node)s: queries left in the account (and spent a day): %(value)s; they last less than %(limit)s"
        ),
        gettext_lazy("When they are used up, every look-up that the cache cannot answer fails."),
        gettext_lazy("Top up the plan, or spend less: a smaller warm-up, longer life times."),
        " d",
        cause=gettext_lazy("More is spent a day than the plan was bought for."),
    ),
    "upstream_circuit_open": Explanation(
        gettext_lazy("%(node)s fails and is left alone: %(value)s"),
        gettext_lazy("What is in the cache is served. Every other look-up fails at once, and nothing is paid."),
        gettext_lazy("Look at the status page of the service and at the network. It is tried again by itself."),
        cause=gettext_lazy("APIMIGO is down or overloaded, or the way to it is cut."),
    ),
    "cache_path_broken": Explanation(
        gettext_lazy("Every node answers, but the application cannot use the cache: %(value)s"),
        gettext_lazy("Nothing is cached: every look-up is slow and a paid query to APIMIGO."),
        gettext_lazy("Compare CACHE_URL of the application with the nodes that run; restart the application."),
        cause=gettext_lazy(
            "CACHE_URL of the application names other nodes than those that are checked, or its connections are stuck."
        ),
    ),
}

# A finding newer than its explanation is still told
UNEXPLAINED = Explanation(
    gettext_lazy("%(code)s on %(node)s: %(value)s (limit %(limit)s)"),
    gettext_lazy("The health check reports a problem that this version cannot explain."),
    gettext_lazy("Look it up in the runbook and in the health sample of the admin."),
)


def explain(facts: StepFacts) -> Explained:
    """What is wrong, what it means for users, what to do next, and why it may be."""
    row = TABLE.get(facts["code"], UNEXPLAINED)
    values = {
        "code": facts["code"],
        "node": facts["node"] or _("the cache"),
        "value": _measure(facts["value"], row),
        "limit": _measure(facts["limit"], row),
    }
    return Explained(str(row.what) % values, str(row.meaning), str(row.next_step), str(row.cause))


def _measure(value: float | str, row: Explanation) -> str:
    if isinstance(value, str):
        return value or _("no further details")
    return f"{value * row.factor:g}{row.unit}"
