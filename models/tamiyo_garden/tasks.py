"""The two tasks of the demonstration: hosts that plateau early, and settings under which growth pays.

`docs/growth.md` shows what was measured with them.
"""

from dataclasses import dataclass
from typing import Final

from tamiyo_leyline import HeuristicConfig, HostDescription, RunConfig, TrackerConfig

from tamiyo_garden.config import GardenConfig
from tamiyo_garden.host import HostConfig


@dataclass(frozen=True)
class Task:
    """A training and the settings that its growth is decided with.

    Attributes:
        garden: data, host and optimizer.
        heuristic: settings of the hand-written policy.
        tracker: settings of the signal tracker.
    """

    garden: GardenConfig
    heuristic: HeuristicConfig
    tracker: TrackerConfig

    def run_config(self, host_parameters: int) -> RunConfig:
        """The run as the service is told of it."""
        return RunConfig(
            heuristic=self.heuristic,
            tracker=self.tracker,
            max_epochs=self.garden.max_epochs,
            host=HostDescription(
                parameters=host_parameters,
                train_examples=self.garden.train_examples,
                normalised=self.garden.host.normalised,
            ),
        )


# A growth takes about 14 of the 40 epochs: it has to begin while the host still learns. The blueprint that
# adds the most comes first.
_EARLY_AND_LARGE_FIRST: Final = HeuristicConfig(
    blueprint_rotation=("conv_enhance", "depthwise", "norm"), plateau_epochs_to_germinate=1
)

TASKS: Final = {
    "digits": Task(
        garden=GardenConfig(
            dataset="digits",
            host=HostConfig(dimensions=2, widths=(4, 4), strides=(2, 2), slots=2),
            train_examples=500,
            validation_examples=300,
            max_epochs=40,
        ),
        heuristic=_EARLY_AND_LARGE_FIRST,
        tracker=TrackerConfig(plateau_threshold=8.0),
    ),
    "mnist1d": Task(
        garden=GardenConfig(
            dataset="mnist1d",
            host=HostConfig(dimensions=1, widths=(8, 8), strides=(2, 2), slots=2),
            train_examples=1_000,
            validation_examples=1_000,
            max_epochs=40,
        ),
        heuristic=_EARLY_AND_LARGE_FIRST,
        tracker=TrackerConfig(plateau_threshold=4.0),
    ),
}
"""Tasks by the name of their data set."""
