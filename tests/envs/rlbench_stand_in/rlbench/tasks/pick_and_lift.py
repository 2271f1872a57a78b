class PickAndLift:
    def success(self, scene):
        return scene.grasped and scene.joints[0] > 0.4 + scene.height

    def state(self, scene):
        return [scene.height]
