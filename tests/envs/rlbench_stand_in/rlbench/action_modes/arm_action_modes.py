from rlbench.backend.exceptions import InvalidActionError


class JointVelocity:
    def action(self, scene, action):
        if len(action) != 7 or abs(scene.joints + 0.05 * action).max() > 2.5:
            raise InvalidActionError("out of reach")
        scene.joints = scene.joints + 0.05 * action
        scene.velocities = action
        scene.steps += 1
