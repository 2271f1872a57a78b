from rlbench.tasks.pick_and_lift import PickAndLift


class TakeUmbrellaOutOfUmbrellaStand(PickAndLift):
    pass
