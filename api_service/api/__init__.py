"""The HTTP API v1: every path under /api/v1/ but the two that were there before (`api_service.views`, clearings)."""
