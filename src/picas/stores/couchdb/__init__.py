"""Pools in CouchDB databases, those that PiCaS made among them."""

from picas.stores.couchdb.address import Address, read_address
from picas.stores.couchdb.store import CouchStore

__all__ = ["Address", "CouchStore", "read_address"]
