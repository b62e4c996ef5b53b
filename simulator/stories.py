"""What a story is: something that happens to people, and the cases of real life it tells.

Each module of stories is a chapter; `@told(...)` puts a story into it. The ids E1, E2 ... are those
of the table of edge cases in the documentation: a story that names one fails when the product does
not behave as described there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from simulator.scene import Scene


@dataclass(frozen=True, slots=True)
class Story:
    """One story: its name, the cases it tells, and how it plays in a scene."""

    name: str
    cases: tuple[str, ...]
    play: Callable[[Scene], None]


@dataclass(slots=True)
class Chapter:
    """Stories in the order in which they are written down."""

    stories: list[Story] = field(default_factory=list)

    def __call__(self, *cases: str) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
        """Decorator: this function is a story of the chapter, and tells these cases."""

        def tell(play: Callable[[Scene], None]) -> Callable[[Scene], None]:
            if any(play.__name__ == story.name for story in self.stories):
                raise ValueError(f"two stories are called {play.__name__}")
            self.stories.append(Story(play.__name__, cases, play))
            return play

        return tell

    def __iter__(self) -> Iterator[Story]:
        return iter(self.stories)
