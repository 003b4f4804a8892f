"""``python -m tamiyo_cli`` is the `tamiyo` command."""

from tamiyo_cli import main

main()
