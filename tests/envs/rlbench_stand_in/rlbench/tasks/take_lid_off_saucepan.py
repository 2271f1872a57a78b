from rlbench.tasks.pick_and_lift import PickAndLift


class TakeLidOffSaucepan(PickAndLift):
    pass
