"""The contract of `picas.stores.base`, as tests. A store is done when they pass.

In a test module import everything from here, and give two fixtures: ``store``, an empty open pool, and ``reopen``,
a function that gives another handle on the same pool (opened anew where ``capabilities.shared``, else a twin).
Before that, `pytest.register_assert_rewrite("picas.testing")` in ``conftest.py`` makes failures readable.
"""

from __future__ import annotations

from picas.testing.attachments import TestAttachments, TestInlineAttachments, TestResultFiles
from picas.testing.claims import TestClaim, TestClaimByMany, TestClaimOrder, TestOddDocuments, TestOffer
from picas.testing.documents import TestDelete, TestGet, TestLoad, TestPut, TestTwin, TestUpdate
from picas.testing.leases import TestBeat, TestPilots, TestWait
from picas.testing.live import TestLive, other
from picas.testing.retrying import TestRetry
from picas.testing.samples import Reopen
from picas.testing.selections import TestCount, TestDesigns, TestNextReady, TestPage
from picas.testing.settling import TestAfter, TestFence, TestSettle
from picas.testing.steering import TestCancel, TestPause, TestPriority
from picas.testing.values import TestIds, TestValues

__all__ = [
    "Reopen",
    "TestAfter",
    "TestAttachments",
    "TestBeat",
    "TestCancel",
    "TestClaim",
    "TestClaimByMany",
    "TestClaimOrder",
    "TestCount",
    "TestDelete",
    "TestDesigns",
    "TestFence",
    "TestGet",
    "TestIds",
    "TestInlineAttachments",
    "TestLive",
    "TestLoad",
    "TestNextReady",
    "TestOddDocuments",
    "TestOffer",
    "TestPage",
    "TestPause",
    "TestPilots",
    "TestPriority",
    "TestPut",
    "TestResultFiles",
    "TestRetry",
    "TestSettle",
    "TestTwin",
    "TestUpdate",
    "TestValues",
    "TestWait",
    "other",
]
