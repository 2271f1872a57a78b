import torch

from viper_gym.models.patch_vq import PatchVQ, PatchVQConfig


def test_codes_depend_on_their_own_cell_only():
    torch.manual_seed(0)
    model = PatchVQ(PatchVQConfig(32, 8, codebook_size=64, codebook_dim=8, width=32)).eval()
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(0.2 * torch.randn_like(p))
        model.quantizer.codebook.normal_()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    task = torch.zeros(4, dtype=torch.int64)
    changed = images.clone()
    changed[:, :, 8:16, 16:24] = torch.rand(4, 3, 8, 8) * 2 - 1
    different = model.encode(images, task) != model.encode(changed, task)
    assert different[:, 1, 2].any()
    different[:, 1, 2] = False
    assert not different.any()


def test_round_trip_shapes():
    model = PatchVQ(PatchVQConfig(32, 8, codebook_size=16, codebook_dim=8, width=32)).eval()
    task = torch.zeros(2, dtype=torch.int64)
    codes = model.encode(torch.zeros(2, 3, 32, 32), task)
    assert codes.shape == (2, 4, 4)
    assert model.decode(codes, task).shape == (2, 3, 32, 32)


def test_background_cells_share_one_code_wherever_they_are():
    torch.manual_seed(0)
    model = PatchVQ(PatchVQConfig(32, 8, codebook_size=64, codebook_dim=8, width=32, num_tasks=2))
    with torch.no_grad():
        model.background.uniform_(-1, 1)
        model.quantizer.codebook.normal_()
    task = torch.tensor([0, 1])
    assert model.eval().encode(model.background, task).unique().numel() == 1
