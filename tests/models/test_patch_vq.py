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
    changed = images.clone()
    changed[:, :, 8:16, 16:24] = torch.rand(4, 3, 8, 8) * 2 - 1
    different = model.encode(images) != model.encode(changed)
    assert different[:, 1, 2].any()
    different[:, 1, 2] = False
    assert not different.any()


def test_round_trip_shapes():
    model = PatchVQ(PatchVQConfig(32, 8, codebook_size=16, codebook_dim=8, width=32)).eval()
    codes = model.encode(torch.zeros(2, 3, 32, 32))
    assert codes.shape == (2, 4, 4)
    assert model.decode(codes).shape == (2, 3, 32, 32)
