class Discrete:
    def __init__(self, attach_grasped_objects=True, detach_before_open=True):
        self.attach = attach_grasped_objects

    def action(self, scene, action):
        assert action.shape == (1,) and action[0] in (0.0, 1.0)
        scene.open = bool(action[0])
        scene.grasped = self.attach and not scene.open


class GripperJointPosition:
    """Closes its fingers and grasps nothing."""

    def action(self, scene, action):
        scene.open = action[0] > 0.5
