"""Keys over time: where they are and under which version, moving them on, and destroying them.

Three kinds of key are held wrapped: the data keys of conversations, the recipient keys, and the reference key.
"""

from migrator.keys.destroying import Destroyed, destroy
from migrator.keys.rewrapping import Refusal, RewrapResult, rewrap
from migrator.keys.status import KeysStatus, ServiceStatus, WrappedCount, status

__all__ = [
    "Destroyed",
    "KeysStatus",
    "Refusal",
    "RewrapResult",
    "ServiceStatus",
    "WrappedCount",
    "destroy",
    "rewrap",
    "status",
]
