"""Who is told when the cache's health changes: rules, incidents, the outbox, messages and channels."""
