"""Stores: where runs and their numbered inputs are kept."""

from tamiyo_service.store.memory import MemoryStore
from tamiyo_service.store.migrate import prepare_database
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.sql import SqlStore

__all__ = ["MemoryStore", "SqlStore", "Store", "prepare_database"]
