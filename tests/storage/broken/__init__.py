"""Storages that each break one rule of the contract and keep the others as well as they can."""
