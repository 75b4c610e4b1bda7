"""Where a webhook may go: to addresses of the public internet, and to the very one that was looked at.

Whoever can name a webhook's host could otherwise make migrator talk to machines that only migrator's network can
reach (server-side request forgery): a name may resolve to a private address, or to another one a moment later. So a
name is resolved once, every address it has is looked at, and the connection goes to the address, not to the name.
"""

import ipaddress
import socket
from typing import Final

from migrator.core.errors import ChannelError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that is assigned for the internet (IANA); beside it lie older ways to wrap an IPv4 address."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the internet's; what carries an IPv4 address inside is as public as that is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast


def resolve_host(host: str, port: int, *, allow_private: bool) -> IPAddress:
    """An address of a host that may be connected to. Raises `ChannelError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ChannelError(f"the webhook's host {host} has no address", hint="check the name and the DNS") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not allow_private and not all(is_public(address) for address in addresses):
        raise ChannelError(
            f"the webhook's host {host} is at a private address",
            hint="if it is meant to be inside your network, say so: #private=allow",
        )
    return addresses[0]
