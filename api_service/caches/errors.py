"""What the strict cache methods raise when the cache, and not the key, is the problem."""

from api_service.sentences import sentence

UNAVAILABLE = sentence("cache node %(node)s is unavailable: %(cause)s")


class CacheOutage(Exception):
    """The cache could not be asked: neither a hit nor a miss is known."""


class NodeUnavailable(CacheOutage):
    """One node did not answer, or is left alone until its next probe.

    `cause` is text and not the exception: the last error is repeated to every caller while a
    node is down, and a kept exception would keep the frames and values of the call that met it.
    """

    def __init__(self, node: str, cause: str) -> None:
        super().__init__(node, cause)
        self.node = node
        self.cause = cause

    def __str__(self) -> str:
        return UNAVAILABLE % {"node": self.node, "cause": self.cause}
