"""The command `bnnjax` and its subcommands, each of which is imported only when it is chosen."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

import bnnjax
from bnnjax.cli.refusal import choose
from bnnjax.runtime.huge_pages import restart_with_huge_pages
from bnnjax.runtime.signals import end_at_once

ABOUT = "Training of binarized neural networks that stay accurate when their inputs are noisy."


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand."""

    name: str
    about: str  # one line
    example: str
    computes: bool = True  # whether it uses JAX, for which the process asks for huge pages

    def run(self, arguments: Sequence[str]) -> NoReturn:
        """Calls `run(program, arguments)` of the module of that name in bnnjax.cli."""
        if self.computes:
            restart_with_huge_pages()
        import_module(f"bnnjax.cli.{self.name}").run(f"bnnjax {self.name}", arguments)
        raise AssertionError(f"{self.name} must end the process")


COMMANDS = {
    command.name: command
    for command in (
        Command(
            name="train",
            about="Train a network on cifar10, digits, imagenet or another TFDS data set.",
            example="bnnjax train digits --constraint=l1inf",
        ),
        Command(
            name="robustness",
            about="Evaluate trained networks under corruptions and attacks.",
            example="bnnjax robustness runs/a runs/b --workdir robustness",
        ),
        Command(
            name="bounds",
            about="Bound how far noise can move the outputs of trained networks, layer by layer.",
            example="bnnjax bounds runs/a runs/b --workdir bounds",
        ),
        Command(
            name="predict",
            about="Say what a trained network sees in pictures.",
            example="bnnjax predict runs/a cat.jpg dog.png",
        ),
        Command(
            name="prepare",
            about="Prepare your own pictures, or ImageNet from its official files.",
            example="bnnjax prepare folder --from DIR --name NAME",
            computes=False,
        ),
        Command(
            name="rerun",
            about="Repeat a run from its own record and compare the results bit for bit.",
            example="bnnjax rerun runs/a",
        ),
        Command(
            name="table",
            about="Rerun a comparison table of the literature under one recipe.",
            example="bnnjax table table3 --dataset digits",
        ),
        Command(
            name="study",
            about="Train networks under a constraint in its soft and hard forms and test each under noise.",
            example="bnnjax study l1inf --dataset digits",
        ),
        Command(
            name="benchmark",
            about="Time training and prediction steps, the input, or all constraints.",
            example="bnnjax benchmark steps --models resnet20 --constraints none l1inf",
        ),
    )
}


def main() -> NoReturn:
    """Runs the subcommand that this process's arguments name, and exits."""
    end_at_once()
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"bnnjax {bnnjax.__version__}")
        sys.exit(0)
    choices = {name: f"{command.about}\n{command.example}" for name, command in COMMANDS.items()}
    name, rest = choose("bnnjax", "command", arguments, choices, about=ABOUT)
    # Records, pages and launch scripts include the command that made them: `python` and these arguments.
    sys.argv[:1] = ["-m", "bnnjax"]
    COMMANDS[name].run(rest)
