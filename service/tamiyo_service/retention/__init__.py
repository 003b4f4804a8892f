"""Retention: which runs expire, and what becomes of them."""
