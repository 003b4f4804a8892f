"""The decision service: an HTTP API over the decision core, with a durable store."""

from tamiyo_service.app import create_app
from tamiyo_service.serve import serve
from tamiyo_service.settings import Settings

__all__ = ["Settings", "create_app", "serve"]
