"""Django's cache tests that our backend does not run, each with the promise of ours that it contradicts.

What takes their place is in tests/integration/caches. `test_close` is not here: it runs, and holds the opposite of
what stock Django does, connections that outlive the request.
"""

_PICKLE = "stores an object that only pickle can write; ours raises TypeError naming the key"

SKIPPED: dict[str, str] = {
    "test_add_fail_on_pickleerror": _PICKLE,
    "test_binary_string": "stores bytes; JSON has none, and ours raises TypeError naming the key",
    "test_cache_read_for_model_instance": _PICKLE,
    "test_cache_read_for_model_instance_with_deferred": _PICKLE,
    "test_cache_write_for_model_instance_with_deferred": _PICKLE,
    "test_cache_write_unpicklable_object": "stores a whole HttpResponse, as the cache middleware does: " + _PICKLE,
    "test_data_types": "stores a function, a class and a tuple; ours refuses two and gives the tuple back as a list",
    "test_set_fail_on_pickleerror": _PICKLE,
    "test_set_many_returns_failing_keys": "patches a method of pymemcache that ours does not call; real refusals are "
    "tested in tests/integration/caches",
}
