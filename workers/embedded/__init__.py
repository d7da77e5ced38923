"""Everything in one process: web, Celery worker, Beat, Flower and, without a token, the APIMIGO sandbox."""
