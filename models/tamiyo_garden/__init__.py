"""A real, small growing-network trainer: data, hosts, blueprints, seed slots, and the epoch loop."""

from tamiyo_garden.bed import NoFreeSlotError, SeedBed, Soil, UnknownSeedError
from tamiyo_garden.blueprints import UnknownBlueprintError, blueprint_names, build_blueprint
from tamiyo_garden.config import GardenConfig
from tamiyo_garden.data import Dataset, DatasetError, Split, dataset_names, load_dataset
from tamiyo_garden.evaluation import Evaluation, evaluate
from tamiyo_garden.host import ConvHost, HostConfig, build_host
from tamiyo_garden.lifecycle import Gates
from tamiyo_garden.slot import SeedSlot, SlotMode
from tamiyo_garden.tasks import TASKS, Task
from tamiyo_garden.trainer import CheckpointError, GardenTrainer

__all__ = [
    "TASKS",
    "CheckpointError",
    "ConvHost",
    "Dataset",
    "DatasetError",
    "Evaluation",
    "GardenConfig",
    "GardenTrainer",
    "Gates",
    "HostConfig",
    "NoFreeSlotError",
    "SeedBed",
    "SeedSlot",
    "SlotMode",
    "Soil",
    "Split",
    "Task",
    "UnknownBlueprintError",
    "UnknownSeedError",
    "blueprint_names",
    "build_blueprint",
    "build_host",
    "dataset_names",
    "evaluate",
    "load_dataset",
]
