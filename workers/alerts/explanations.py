"""What each finding means and what to do: one row per code of the rules in `api_service.services`.

The runbook (`docs/runbook.md`) has a heading for every code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.admin import words
from api_service.services.translated import translated
from workers.alerts import wording
from workers.alerts.facts import StepFacts

SECONDS = " s"
# From here on nobody reads seconds: "1 day 2 h", not "93780 s"
READ_AS_TIME = 120


@dataclass(frozen=True, slots=True)
class Explanation:
    """`what` may name %(node)s, %(value)s and %(limit)s; a number of those is written as number × factor + unit.

    Many seconds are written as hours and minutes.
    """

    what: Promise
    meaning: Promise
    next_step: Promise
    unit: str = ""
    factor: int = 1
    # The likely cause, in a sentence
    cause: Promise | str = ""
    # Where the node of the finding is a code of ours: what it is called
    places: Mapping[str, Promise] = field(default_factory=dict)


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
        gettext_lazy(
            "Its share of the cache is gone: those look-ups take longer, from the answer store or as paid queries "
            "to APIMIGO."
        ),
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
    "connections_rejected": Explanation(
        gettext_lazy("Node %(node)s refuses connections: %(value)s a minute (limit %(limit)s)"),
        gettext_lazy("Look-ups of whoever was refused go past the cache: slow, and each is a paid query to APIMIGO."),
        gettext_lazy("Raise the limit (-c, maxclients), or find the client that leaves connections open."),
        cause=gettext_lazy("More processes and threads than the node has connections for, or one that leaks them."),
    ),
    "hit_ratio_low": Explanation(
        gettext_lazy("Node %(node)s answers only %(value)s of what it is asked for (limit %(limit)s)"),
        gettext_lazy("Most look-ups of that node wait for APIMIGO, and are paid."),
        gettext_lazy("See whether it was emptied, whether its life times end too soon, and what warming does."),
        " %",
        100,
        cause=gettext_lazy("A node that was emptied, keys that end before they are asked for again, or new traffic."),
    ),
    "redis_policy": Explanation(
        gettext_lazy("Node %(node)s has a memory limit and drops nothing when it is full: maxmemory-policy %(value)s"),
        gettext_lazy("Once it is full it refuses every write: nothing new is cached, and each look-up of it is paid."),
        gettext_lazy(
            "Set maxmemory-policy to allkeys-lru. A broker must keep noeviction: give the cache its own Redis."
        ),
        cause=gettext_lazy("Redis' own default, or a Redis that was set up as a broker."),
    ),
    "redis_fragmented": Explanation(
        gettext_lazy("Node %(node)s takes %(value)s times the memory that it uses (limit %(limit)s)"),
        gettext_lazy("Nobody notices yet. The machine runs out of memory long before Redis does."),
        gettext_lazy("Switch activedefrag on, or restart the node at a quiet hour: it is refilled by itself."),
        cause=gettext_lazy("Many keys that ended at once, or values of very different sizes."),
    ),
    "redis_replica": Explanation(
        gettext_lazy("Node %(node)s is a replica and takes writes: %(value)s"),
        gettext_lazy("What is written to it is gone at its next synchronisation: look-ups are slow and paid again."),
        gettext_lazy("Point CACHE_URL at the primary, or promote this one with REPLICAOF NO ONE."),
        cause=gettext_lazy("A failover that changed the roles, or a wrong CACHE_URL."),
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
    "schedule_late": Explanation(
        gettext_lazy("Beat has not sent %(node)s for %(value)s beyond its time (limit %(limit)s)"),
        gettext_lazy("What it does stays undone: checks, alerts and warm-ups come late or not at all."),
        gettext_lazy("Restart Beat, and see its log. check_beat shows every schedule."),
        SECONDS,
        cause=gettext_lazy("Beat has stopped, hangs or is not started; or the clock was set back."),
    ),
    "schedule_not_run": Explanation(
        gettext_lazy("No run of %(node)s has succeeded for %(value)s (limit %(limit)s and two runs)"),
        gettext_lazy("What it does stays undone: checks, alerts and warm-ups come late or not at all."),
        gettext_lazy("See whether a worker takes its queue, then its last error: check_beat, and the worker's log."),
        SECONDS,
        cause=gettext_lazy("No worker serves its queue, the broker is cut off, or every run fails."),
    ),
    "broker_down": Explanation(
        gettext_lazy("The broker does not answer: %(value)s"),
        gettext_lazy(
            "No task is started: nothing is warmed, checked or alerted by schedule. Look-ups go on; old answers are "
            "not renewed."
        ),
        gettext_lazy(
            "See whether Redis runs and CELERY_BROKER_URL is right. Workers and Beat connect again by themselves."
        ),
        cause=gettext_lazy("Redis was stopped or restarted, hangs, or is out of memory; or the network between."),
    ),
    "queue_long": Explanation(
        gettext_lazy("%(value)s tasks wait in the queue %(node)s (limit %(limit)s)"),
        gettext_lazy("What they are to do happens late: warm-ups, renewals of old answers, inventories."),
        gettext_lazy("Look at Flower: start workers for this queue, or find who sends so many tasks."),
        cause=gettext_lazy("Too few workers for the queue, tasks that have become slow, or a loop that sends them."),
    ),
    "queue_old": Explanation(
        gettext_lazy("The oldest task of the queue %(node)s has waited for %(value)s (limit %(limit)s)"),
        gettext_lazy("What it is to do happens late, or not at all once it has expired."),
        gettext_lazy("See whether a worker serves the queue, and what it is busy with (Flower)."),
        SECONDS,
        cause=gettext_lazy("No worker serves the queue, or all of them are busy with long tasks."),
    ),
    "workers_missing": Explanation(
        gettext_lazy("No worker answers for the queue %(node)s"),
        gettext_lazy(
            "Its tasks wait, then expire: no warm-up, no renewal, no inventory or no alert, by which queue it is."
        ),
        gettext_lazy("Start the worker of this queue, and look into its log for why it ended."),
        cause=gettext_lazy(
            "The worker was stopped, killed for its memory, hangs, or was started without this queue (-Q)."
        ),
    ),
    "upstream_errors": Explanation(
        gettext_lazy("%(node)s: %(value)s of the calls of the last minutes brought no answer (limit %(limit)s)"),
        gettext_lazy("Look-ups that the cache cannot answer are slow, show old answers, or fail."),
        gettext_lazy("See the calls by outcome in the health sample, and the status page of the service."),
        " %",
        100,
        gettext_lazy("The service is in trouble or limits us, or the network between is."),
    ),
    "database_slow": Explanation(
        gettext_lazy("The database answers in %(value)s (limit %(limit)s)"),
        gettext_lazy("Look-ups that are paid for wait for it, and stored answers may not be used at all."),
        gettext_lazy("Look at its load, its disk and its locks; and at the network between."),
        " ms",
        cause=gettext_lazy("A busy disk or machine, a long transaction, or a database that is far away."),
    ),
    "answer_store_off": Explanation(
        gettext_lazy("The store of answers is not waited for: %(value)s"),
        gettext_lazy("What it could answer for nothing is paid for again, and an outage of APIMIGO shows at once."),
        gettext_lazy("Find out why the database is slow; only if it cannot be faster raise ANSWER_STORE_SECONDS."),
        cause=gettext_lazy("The database needs longer than ANSWER_STORE_SECONDS, or failed."),
    ),
    "read_counts_waiting": Explanation(
        gettext_lazy("The database does not take the read counts"),
        gettext_lazy("Nothing that users see. Warming goes by older counts, and a process that ends loses its own."),
        gettext_lazy("Look into the log of the worker for what the database said."),
        cause=gettext_lazy("A migration that was not applied, a lock, a full disk, or missing permissions."),
    ),
    "reading_blind": Explanation(
        gettext_lazy("%(node)s: cannot be read: %(value)s"),
        gettext_lazy("Nothing that users see. Trouble there would be told by nobody as long as this lasts."),
        gettext_lazy(
            "See the error in the health sample of the admin, and the log of the worker that runs the checks."
        ),
        cause=gettext_lazy(
            "Something that it asks hangs or refuses: a lock in the database, a name server, a missing permission."
        ),
        places=words.READINGS,
    ),
    "tracking_old": Explanation(
        gettext_lazy("The last complete inventory of node %(node)s is %(value)s old (limit %(limit)s)"),
        gettext_lazy("What the admin shows of its keys is of then. Look-ups are not affected."),
        gettext_lazy("See the inventories in the admin: their error says why the node could not be listed."),
        SECONDS,
        cause=gettext_lazy("The node is down or cannot be listed, or no worker serves the queue tracking."),
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
    return explain_finding(facts["code"], facts["node"], facts["value"], facts["limit"])


def explain_finding(code: str, node: str, value: float | str, limit: float | str) -> Explained:
    """The same of a finding that is not a step of an incident."""
    row = TABLE.get(code, UNEXPLAINED)
    values = {
        "code": code,
        "node": words.word(row.places, node) or _("the cache"),
        "value": _measure(value, row),
        "limit": _measure(limit, row),
    }
    return Explained(str(row.what) % values, str(row.meaning), str(row.next_step), str(row.cause))


def _measure(value: float | str, row: Explanation) -> str:
    if isinstance(value, str):
        return translated(value) or _("no further details")
    if row.unit == SECONDS and value >= READ_AS_TIME:
        return wording.duration(value)
    # Ten digits: with fewer a million reads "1e+06"
    return f"{value * row.factor:.10g}{row.unit}"
