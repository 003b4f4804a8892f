"""The `tamiyo` command."""


def main() -> None:
    """Run the command line."""
