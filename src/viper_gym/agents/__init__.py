"""Agents for any Gymnasium environment; they know nothing of video rewards."""
