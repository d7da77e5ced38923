"""An APIMIGO for demonstrations and tests: `manage.py sandbox --port 8899 --latency 0.3 --error-rate 0.1`."""

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from api_service.sandbox.faults import Switches
from api_service.sandbox.server import SandboxServer

_SHARES = {
    "--error-rate": "share of answers with status 500",
    "--timeout-rate": "share of requests that get no answer for a minute",
    "--broken-json-rate": "share of answers cut short",
    "--html-error-rate": "share of answers that are an HTML error page",
    "--unknown-share": "share of valid RUCs that SUNAT does not know",
}


class Command(BaseCommand):
    help = "Serve a local APIMIGO (v1 and v2) with made-up records; point MIGO_BASE_URL at it."
    # It needs neither database nor settings of the product, so it starts when those are broken.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        defaults = Switches()
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8899)
        parser.add_argument("--latency", type=float, default=defaults.latency, help="seconds, half of it more or less")
        for option, text in _SHARES.items():
            name = option.removeprefix("--").replace("-", "_")
            parser.add_argument(option, type=float, default=getattr(defaults, name), help=f"{text}, 0 to 1")
        parser.add_argument("--rate-limit", type=int, default=0, help="requests a minute, 0 for no limit")
        parser.add_argument("--consultas", type=int, default=defaults.consultas, help="queries left in the plan")
        parser.add_argument("--token", default="", help="the only token to accept; any when not given")
        parser.add_argument("--seed", type=int, default=defaults.seed, help="the same seed gives the same faults")

    def handle(self, *args: Any, **options: Any) -> None:
        server = self._server(options)
        self.stdout.write(f"APIMIGO sandbox: {server.url}/api/v1 and {server.url}/api/v2; stop with Ctrl-C")
        self.stdout.write(
            f"Change it while it runs: POST {server.url}/_sandbox/switches; see GET /_sandbox/state, /log"
        )
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, lambda *_: server.stop())
        server.serve_forever()
        self.stdout.write("Stopped.")

    def _server(self, options: dict[str, Any]) -> SandboxServer:
        names = ("latency", "error_rate", "timeout_rate", "broken_json_rate", "html_error_rate", "unknown_share")
        wanted = {name: options[name] for name in (*names, "consultas", "seed")}
        wanted["rate_limit_per_minute"] = options["rate_limit"]
        try:
            return SandboxServer(
                options["host"],
                options["port"],
                switches=Switches().changed(wanted),
                token=options["token"],
            )
        except (ValueError, OSError) as wrong:
            raise CommandError(str(wrong)) from wrong
