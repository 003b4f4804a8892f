"""What learning needs, and what it leaves behind: features, networks, and artifacts that can be served.

Importing the package brings numpy and pydantic; torch comes with the first network that is loaded.
"""

from tamiyo_models.artifact import SHIPPED, ArtifactError, Network, load_network, read_manifest
from tamiyo_models.features import SignalColumns, batch_features, features_from_columns
from tamiyo_models.manifest import Manifest

__all__ = [
    "SHIPPED",
    "ArtifactError",
    "Manifest",
    "Network",
    "SignalColumns",
    "batch_features",
    "features_from_columns",
    "load_network",
    "read_manifest",
]
