class MoveArmThenGripper:
    def __init__(self, arm_action_mode, gripper_action_mode):
        self.arm_action_mode = arm_action_mode
        self.gripper_action_mode = gripper_action_mode

    def action(self, scene, action):
        self.arm_action_mode.action(scene, action[:7])
        self.gripper_action_mode.action(scene, action[7:])
