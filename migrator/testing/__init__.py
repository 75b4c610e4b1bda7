"""For whoever implements a port outside this repository: what an implementation must do, as tests to subclass.

Needs pytest. `pytest.register_assert_rewrite("migrator.testing")` in a `conftest.py` makes failures tell more.
"""
