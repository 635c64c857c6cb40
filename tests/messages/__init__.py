"""Durable messages, between agents and from outside."""
