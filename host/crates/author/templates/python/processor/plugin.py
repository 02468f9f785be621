"""MY-DESCRIPTION."""

from dataclasses import dataclass

from deltaforge import IMAGES, Batch, Fatal

HIDDEN = str.maketrans("0123456789", "##########")


@dataclass
class Config:
    """What may stand under `config:` in the pipeline's file, with the defaults."""

    column: str = ""
    """The column whose digits are hidden."""


class MyPlugin:
    """The plugin. One instance sees all batches of one processor, so it may keep state between calls; a call that fails ends it."""

    Config = Config

    def __init__(self, config: Config) -> None:
        if not config.column:
            raise Fatal("`column` is missing: the column whose digits are hidden")
        self.column = config.column

    def process(self, batch: Batch) -> None:
        for image in IMAGES:
            batch.map_texts(image, self.column, hide_digits)


def hide_digits(text: str) -> str:
    """A number sign in the place of each digit."""
    return text.translate(HIDDEN)
