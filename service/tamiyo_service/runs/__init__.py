"""Runs: what the service does with reports and operators' wishes, without a word of HTTP."""
