class JointVelocity:
    def action(self, scene, action):
        assert action.shape == (7,)
        scene.joints = scene.joints + 0.05 * action
        scene.velocities = action
        scene.steps += 1

    def set_control_mode(self, robot):
        robot.position_control = False
