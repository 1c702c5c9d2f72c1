"""The architecture of the embedded backbone."""


def tiny():
    """Build the bundled image network: a ResNet of 3.8 million parameters for 64-pixel images.

    It is timm's ``ResNet`` with basic blocks, without the pooling after the stem, so that an image
    of 32 x 32 pixels enlarged to 64 reaches the first stage with all its detail.  A 1x1 convolution
    closes the last stage; it is linear, so the globally pooled features have either sign.

    Returns
    -------
    timm.models.resnet.ResNet
        With random parameters, in evaluation mode, with timm's ``pretrained_cfg`` and
        ``feature_info``. It takes images of any size from 32 pixels up.
    """
    import torch
    from timm.models import PretrainedCfg
    from timm.models.resnet import BasicBlock, ResNet

    net = ResNet(
        BasicBlock,
        layers=(1, 2, 2, 2),
        channels=(32, 64, 160, 288),
        stem_type="deep",
        stem_width=16,
        num_classes=0,
    )
    net.maxpool = torch.nn.Identity()
    for stage in net.feature_info[1:]:
        stage["reduction"] //= 2  # timm counts the pooling removed above
    net.layer4.append(torch.nn.Conv2d(net.num_features, net.num_features, kernel_size=1))
    net.pretrained_cfg = PretrainedCfg(
        architecture="tiny",
        input_size=(3, 64, 64),
        interpolation="bicubic",
        crop_pct=1.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        num_classes=0,
        first_conv="conv1.0",
        classifier="fc",
    )
    net.summary_pixel = True  # see skad.networks._taps.without_summary
    return net.eval()
