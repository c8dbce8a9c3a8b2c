import pytest

pytest.register_assert_rewrite("picas.testing")
