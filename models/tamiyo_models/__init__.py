"""What learning needs: the features of many runs at once."""
