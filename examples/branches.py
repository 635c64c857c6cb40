"""An agent is saved by name, forked, and rewound, asleep or awake.

python examples/branches.py [sqlite:///branches.db]
"""

from __future__ import annotations

import sys

from torpor import Agent, Runtime
from torpor.repositories import Repositories


class Story(Agent):
    """Its lines are entries of its thread, their number is its state."""

    lines: int = 0

    def write(self, line: str) -> None:
        """Add a line."""
        self.lines += 1
        self.thread.append("line", line)

    def tell(self) -> str:
        """Return the whole story."""
        return " ".join(entry.payload for entry in self.thread.entries())


def main(url: str = "sqlite:///branches.db") -> None:
    """Write a story with two ends, then take one of them back."""
    with Runtime(url) as runtime:
        repositories = Repositories(runtime.storage)
        branches = repositories.branches

        night = runtime.get(Story, "night")
        night.delete()
        runtime.get(Story, "day").delete()
        for snapshot in branches.snapshots(night):
            branches.delete_snapshot(night, snapshot.name)

        night.ask(Story.write, "It was dark.")
        branches.snapshot(night, "beginning")
        night.ask(Story.write, "A light went on.")
        branches.fork(night, "day")  # another agent, with state and thread of its own
        runtime.get(Story, "day").ask(Story.write, "It was the sun.")
        night.ask(Story.write, "It was a thief.")
        for story in (night, runtime.get(Story, "day")):
            print(f"{story.key}: {story.ask(Story.tell)}")

        image = repositories.images.create("tenant-1", agent=night, name="the thief")
        branches.rewind(night, "beginning")  # in one step
        print(f"{night.key}: {night.ask(Story.tell)} ({night.proxy().lines.get()} line)")

        saved = repositories.images.find_by_name("the thief")
        runtime.get(Story, "again").delete()
        repositories.images.start(saved[0].image_id, "again")
        print(f"again: {runtime.get(Story, 'again').ask(Story.tell)}")
        repositories.images.delete(image.image_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
