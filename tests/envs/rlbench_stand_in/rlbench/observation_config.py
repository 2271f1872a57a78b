from rlbench.backend.observation import record

CAMERAS = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")


def set_all(self, value):
    self.rgb = self.depth = self.point_cloud = self.mask = value


def make_cameras(self):
    for camera in CAMERAS:
        if getattr(self, f"{camera}_camera") is None:
            setattr(self, f"{camera}_camera", CameraConfig())


CameraConfig = record("rlbench.observation_config:CameraConfig", set_all=set_all)
ObservationConfig = record(
    "rlbench.observation_config:ObservationConfig",
    {f"{camera}_camera": None for camera in CAMERAS},
    __post_init__=make_cameras,
)
