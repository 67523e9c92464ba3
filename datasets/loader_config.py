"""What a recipe says about loading."""

import dataclasses
import enum

from datasets.augment import AugmentConfig
from datasets.errors import VrmmError
from datasets.framing import CropConfig
from datasets.labels import Balance


class Split(enum.Enum):
    """Which part of a capture takes part."""

    train = "train"
    held_out = "held_out"
    all = "all"

    def holds(self, name: str) -> bool:
        """A thing of that split takes part."""
        return self is Split.all or self.value == name


class OnError(enum.Enum):
    """What a damaged sample does: end the run, or be replaced, named and counted."""

    fail = "fail"
    skip = "skip"


class Mode(enum.Enum):
    """How shards are read: the members that a step needs by their byte ranges, or whole shards from front to back."""

    members = "members"
    stream = "stream"


@dataclasses.dataclass(kw_only=True)
class LoaderConfig:
    """Which frames and views a training step gets.

    Attributes:
        shards: folder written by ``vrmm shards build``, or a URL of one (``https://…``, ``s3://…``).
        mode: ``members`` reads what a step needs and nothing else; ``stream`` is for object stores where small reads
            are slow. The order of samples differs between the two, and depends on nothing else but what is below.
        batch_frames: frames of a global batch, over all ranks.
        input_cameras: the encoders' views; empty takes three frontal training cameras. Of a merged set, as many
            of each rig.
        target_views: views to render per frame, other ones in each epoch.
        image_size: pixels of the longer image side; 0 leaves images as stored.
        reduced_jpeg: decode JPEGs at 1/2, 1/4 or 1/8 where ``image_size`` or ``crop`` allows. Averages are then partly
            taken before linearisation, which darkens the edges of sRGB pictures a little; false is exact and slower.
        crop: squares around the head as target views.
        workers: threads that read and decode, per rank; 0 reads in the training thread.
        prefetch: batches made ahead.
        cache_mb: megabytes of decoded images to keep, per rank.
        disk_cache: folder on a local disk that keeps members which were read by range from far away; empty for none.
        disk_cache_mb: megabytes that it may hold, for all processes of a machine together.
        on_error: ``fail`` or ``skip``. Under ``skip`` a damaged sample's place is taken by the next readable sample
            of the epoch's (in a stream, the stream's) order, whatever the number of ranks.
        seed: of the order, the target views and the augmentation.
        shuffle_shards: shards whose samples are shuffled together; more is more random, fewer reads fewer files.
        streams: logical streams of ``stream``, dealt over the ranks; part of the order, so leave it when ranks change.
            A multiple or a divisor of ``batch_frames``, and a multiple of the ranks.
        stream_window: samples of a stream that are shuffled together; two windows of each stream are held in memory.
        balance: draw the values of these labels equally often, the first before the second and so on. An epoch then
            has as many samples as before; frequent ones are left out in some epochs and rare ones repeated.
        augment: changes to the pictures, others in each epoch.
        cameras: split of the cameras that may be targets.
        subjects: split of the subjects.
        frames: split of the frames.
    """

    shards: str = ""
    mode: Mode = Mode.members
    batch_frames: int = 4
    input_cameras: list[str] = dataclasses.field(default_factory=list)
    target_views: int = 2
    image_size: int = 0
    reduced_jpeg: bool = True
    crop: CropConfig = dataclasses.field(default_factory=CropConfig)
    workers: int = 2
    prefetch: int = 2
    cache_mb: int = 256
    disk_cache: str = ""
    disk_cache_mb: int = 20000
    on_error: OnError = OnError.fail
    seed: int = 0
    shuffle_shards: int = 16
    streams: int = 8
    stream_window: int = 32
    balance: list[Balance] = dataclasses.field(default_factory=list)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    cameras: Split = Split.train
    subjects: Split = Split.train
    frames: Split = Split.train

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_frames", 1),
            ("target_views", 1),
            ("shuffle_shards", 1),
            ("streams", 1),
            ("stream_window", 1),
            ("disk_cache_mb", 1),
            ("image_size", 0),
            ("workers", 0),
            ("prefetch", 0),
            ("cache_mb", 0),
        ):
            if getattr(self, name) < least:
                raise VrmmError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if len(set(self.balance)) != len(self.balance):
            raise VrmmError(f"balance names {self.balance[0].value} twice; name each label once")
        if self.disk_cache and self.mode is Mode.stream:
            raise VrmmError("disk_cache keeps what is read by range, and mode=stream reads nothing so; leave it empty")
