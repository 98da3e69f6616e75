"""What goes wrong when a component is built."""

from theater.errors import TheaterError


class BuildError(TheaterError):
    """A component could not be built.

    Args:
        problem: what failed, in words.
        output: what the compiler wrote, or all that does not fit, a line each; empty if there is no more to
            say.
    """

    def __init__(self, problem: str, output: str = "") -> None:
        super().__init__(problem, output)
        self.problem = problem
        self.output = output

    def __str__(self) -> str:
        return f"{self.problem}\n{self.output}" if self.output else self.problem
