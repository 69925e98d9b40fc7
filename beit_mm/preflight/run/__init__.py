"""Checks of a runner whose data, model and hooks are built, before its first step."""
