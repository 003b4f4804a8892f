"""What learning needs: the features of many runs at once."""

from tamiyo_models.features import SignalColumns, batch_features, features_from_columns

__all__ = ["SignalColumns", "batch_features", "features_from_columns"]
