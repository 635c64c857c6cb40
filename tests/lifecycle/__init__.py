"""Tests of the life of agents: sleep, deletion, failed thaws, and the end of a runtime."""
