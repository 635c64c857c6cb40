"""Many messages, agents, processes and kills, and every message accounted for."""
