"""`... completion bash|zsh|fish`: what a shell reads to complete a command of ours."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


def add_completion(group: click.Group, name: str) -> None:
    """The command `completion` of a group that is called `name`."""

    @group.command("completion")
    @click.argument("shell", type=click.Choice(SHELLS))
    def completion(shell: str) -> None:
        """Print what completes this command in SHELL; how to use it is its first line."""
        made = get_completion_class(shell)
        if made is None:
            raise click.UsageError(f"{shell} cannot be completed")
        use = {
            "bash": f'eval "$({name} completion bash)" in ~/.bashrc',
            "zsh": f'eval "$({name} completion zsh)" in ~/.zshrc',
            "fish": f"{name} completion fish > ~/.config/fish/completions/{name}.fish",
        }[shell]
        click.echo(f"# {use}")
        # bash's own class asks bash for its version here; what it prints depends on nothing of it.
        click.echo(made(group, {}, name, f"_{name.upper()}_COMPLETE").source_template % _words(name))


def _words(name: str) -> dict[str, str]:
    return {
        "complete_func": f"_{name}_completion",
        "complete_var": f"_{name.upper()}_COMPLETE",
        "prog_name": name,
    }
