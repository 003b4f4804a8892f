"""The learned policy, served: which models there are, which is active, what others would have decided."""
