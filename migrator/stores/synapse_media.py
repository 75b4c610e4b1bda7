"""Where a Synapse homeserver keeps media: paths below its `media_store`, by `mxc://server/media-id`.

Local media lie under their id, remote ones under the id that Synapse gave them in its file system
(`remote_media_cache.filesystem_id`). Source: Synapse, `synapse/media/filepath.py`. URIs come from clients: what is no
URI by the specification's grammar leads nowhere.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Column, Table

from migrator.lookups import rows_among
from migrator.stores.source_database import SourceDatabase

_URI: Final = re.compile(r"mxc://([A-Za-z0-9\[][A-Za-z0-9.:\]-]{0,254})/([A-Za-z0-9_-]{5,255})\Z")
_FILE: Final = re.compile(r"[A-Za-z0-9_-]{5,255}\Z")

remote_media_cache = Table(
    "remote_media_cache",
    sa.MetaData(),
    Column("media_origin", sa.Text, primary_key=True),
    Column("media_id", sa.Text, primary_key=True),
    Column("filesystem_id", sa.Text),
)
_REMOTE: Final = sa.select(
    remote_media_cache.c.media_origin, remote_media_cache.c.media_id, remote_media_cache.c.filesystem_id
)


def media_paths(database: SourceDatabase, server_name: str, uris: Sequence[str]) -> dict[str, str | None]:
    """Where each lies below `media_store`; None for what was never fetched from its server. Other URIs are left out."""
    parsed = {uri: (match[1], match[2]) for uri in uris if (match := _URI.match(uri))}
    remote = sorted({media_id for server, media_id in parsed.values() if server != server_name})
    names = database.run(partial(_filesystem_ids, media_ids=remote)) if remote else {}
    return {
        uri: _local(media_id) if server == server_name else _remote(server, names.get((server, media_id)))
        for uri, (server, media_id) in parsed.items()
    }


def _filesystem_ids(connection: sa.Connection, media_ids: Sequence[str]) -> Mapping[tuple[str, str], str]:
    rows = rows_among(connection, _REMOTE, remote_media_cache.c.media_id, media_ids)
    return {(origin, media_id): name for origin, media_id, name in rows}


def _local(media_id: str) -> str:
    return f"local_content/{media_id[:2]}/{media_id[2:4]}/{media_id[4:]}"


def _remote(server: str, name: object) -> str | None:
    if not isinstance(name, str) or not _FILE.match(name):
        return None
    return f"remote_content/{server}/{name[:2]}/{name[2:4]}/{name[4:]}"
