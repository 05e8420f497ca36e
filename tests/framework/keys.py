"""Keys of a fleet that a shell could mistake."""

from random import Random


def odd_keys(number: int) -> list[str]:
    """Return keys of all kinds of characters, some with line breaks."""
    random = Random(16)  # noqa: S311 - the same keys in each run
    fixed = [
        " ",
        "\n",
        "\n\n",
        "a\n",
        "\na",
        "-n",
        "-e x",
        "%s%d",
        "\\",
        "\\n",
        "'",
        '"',
        "`date`",
        "$HOME",
        "$(id)",
        "*",
        "ä/ö",
        "😀",
    ]
    characters = "abcdefghijklmnopqrstuvwxyz0123456789-_./ \t\n'\"\\$`*?[]{}~!#äß€😀\x01\x7f"
    return fixed + ["".join(random.choices(characters, k=random.randint(1, 130))) for _ in range(number - len(fixed))]
