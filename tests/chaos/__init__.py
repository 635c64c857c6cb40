"""Many processes on one storage while everything goes wrong; judged by what was acknowledged.

``python -m tests.chaos --minutes 30`` runs seed after seed; a failure prints the seed that
replays its choices. What happens *when* is up to the machine.
"""
