"""What tanet.recipes.provenance puts beside each value of the presets, and beside those that a style changes."""

BOTH = "MMAction2 0.x and 1.x"

K400_8F = {
    "name": "ours: the preset's name in this package",
    "dataset": f"{BOTH}: Kinetics-400; official alike",
    "num_classes": f"{BOTH}: the classes of Kinetics-400; official alike",
    "arch": f"{BOTH}: ResNet-50; official alike",
    "temporal": "paper, section 3: TAM in every bottleneck",
    "temporal_stages": "paper, section 3.4: every bottleneck of all four stages",
    "temporal_position": "paper, section 3.4: in front of the 3x3 convolution",
    "kernel_size": "paper, section 4.2: K = 3",
    "alpha": "paper, section 4.2: alpha = 2",
    "beta": "paper, section 4.2: beta = 4",
    "num_frames": f"{BOTH}: 8 frames, dense 1x1x8; official alike",
    "dropout": f"{BOTH}: 0.5; official alike",
    "init": f"{BOTH}: torchvision's ResNet-50 trained on ImageNet; official alike",
    "sampling": f"{BOTH}: DenseSampleFrames; official alike (--dense_sample)",
    "keep_tail": f"{BOTH}: off; it concerns uniform sampling; official alike",
    "style": "ours: the field names the code base to follow; MMAction2 publishes the most rows for this network",
    "short_side": f"{BOTH}: 256 before the training crop; official crops at native size",
    "crop_size": f"{BOTH}: 224; official alike",
    "test_size": f"{BOTH}: crops of 256; official alike",
    "crop_scales": f"{BOTH}: MultiScaleCrop; official alike",
    "flip": f"{BOTH}: horizontal flip, probability 0.5; official alike",
    "protocols": f"{BOTH}: 10 clips x 3 crops; official alike",
    "epochs": f"{BOTH}: 100; official alike",
    "lr": f"{BOTH}: 0.01 on 8 GPUs; official alike",
    "lr_batch": f"{BOTH}: 8 GPUs x 8 clips; official alike, by its author's answer in issue 5: 8 GPUs, at least 64 "
    "clips. The script's --batch-size 8 is one GPU's",
    "lr_steps": f"{BOTH}: 50, 75, 90; official alike",
    "warmup_epochs": f"{BOTH}: no warm-up; official alike",
    "clips_per_process": f"{BOTH}: 8 clips a GPU; official alike",
    "accumulation": "ours: one batch a step, as in both code bases; the published batch fits on 8 GPUs",
    "balanced": f"{BOTH}: every video once an epoch; official alike",
    "label_smoothing": f"{BOTH}: none; official alike",
    "momentum": f"{BOTH}: 0.9; official alike",
    "weight_decay": f"{BOTH}: 1e-4; official alike",
    "clip_grad_norm": f"{BOTH}: 20; official alike",
    "classifier_lr": f"{BOTH}: fc_lr5, x5 for the weight and x10 for the bias; official alike",
    "param_groups": f"{BOTH}: no decay for BatchNorm and biases, rate x2 for biases",
    "frozen_stages": f"{BOTH}: all weights are trained; official alike",
    "ema": "ours: no averaged weights, because neither code base averages them",
    "sync_batchnorm": f"{BOTH}: off; official alike",
    "batchnorm_statistics": "MMAction2 0.x: the first GPU's; official alike (DataParallel); 1.x averages over the GPUs",
    "seed": "ours: any number serves; 0 makes two runs of a preset the same",
    "deterministic": "ours: off, because deterministic kernels are slower",
    "workers": "ours: as many as the machine's cores allow; MMAction2 0.x has 2 a GPU, 1.x has 8",
    "precision": f"{BOTH}: no mixed precision; official alike",
    "memory_format": "ours: the fastest that the device measures; it changes rounding only",
    "compile": "ours: on where the device measures a gain; it changes rounding only",
    "cuda_graphs": "ours: on GPUs, where Python would set the speed; it changes no number",
    "checkpoint_activations": "ours: off, because it saves memory at the price of time",
}

TO_MMACTION2 = {"style": "ours: asked for (--style mmaction2)"}
TO_OFFICIAL = {
    "style": "ours: asked for (--style official)",
    "short_side": "official: 256 for validation and tests; training crops come at native size",
    "param_groups": "official: as MMAction2, and rate x5 for every other Linear weight, those of TAM's global branch",
}

K400_16F = {
    **K400_8F,
    **TO_OFFICIAL,
    "dataset": "official: Kinetics-400",
    "num_frames": "official: 16 frames of the 64-frame window, 4 apart",
    "style": "ours: the field names the code base to follow; only the authors publish a row for this network",
    "lr": "ours: the rate of the authors' 8-frame script; they publish none for 16 frames",
    "lr_batch": "ours: the batch of the authors' 8-frame script; they publish none for 16 frames",
    "clips_per_process": "ours: half of k400_8f, for memory; the rate follows the actual batch",
    "protocols": "official: 10 clips x 3 crops",
}
K400_16F_MMACTION2 = {
    **TO_MMACTION2,
    "short_side": K400_8F["short_side"],
    "param_groups": K400_8F["param_groups"],
}

STHV1_8F = {
    **K400_8F,
    "dataset": f"{BOTH}: Something-Something V1; official alike",
    "num_classes": f"{BOTH}: the classes of Something-Something V1; official alike",
    "num_frames": f"{BOTH}: 8 frames, 1x1x8; official alike",
    "sampling": f"{BOTH}: SampleFrames, one frame of each of T segments; official alike",
    "keep_tail": f"{BOTH}: keep_tail_frames is off; official has no such option",
    "flip": f"{BOTH}: flip with the labels of mirrored classes swapped; official does not flip V1",
    "protocols": f"{BOTH}: efficient (1 clip x 1 crop) and accurate (2 x 3); official publishes 1 x 1",
    "dropout": f"{BOTH}: 0.6; official alike",
    "epochs": f"{BOTH}: 50; official alike",
    "lr": f"{BOTH}: 0.01 on 8 GPUs; official alike",
    "lr_batch": f"{BOTH}: 8 GPUs x 8 clips; official alike (--batch-size 64)",
    "clips_per_process": f"{BOTH}: 8 clips a GPU; the official script expects 4 GPUs x 16",
    "lr_steps": f"{BOTH}: 30, 40, 45; official alike",
    "weight_decay": f"{BOTH}: 1e-3; official alike",
}
V1_OFFICIAL = {
    **TO_OFFICIAL,
    "flip": "official: V1 is not flipped",
    "protocols": "official: efficient (1 clip x 1 crop) alone",
}

STHV1_16F = {
    **STHV1_8F,
    "num_frames": f"{BOTH}: 16 frames, 1x1x16",
    "lr": "MMAction2 1.x: 0.0075; 0.x has 0.005",
    "lr_batch": "MMAction2 1.x: 8 GPUs x 6 clips; 0.x has 8 x 4",
    "clips_per_process": "MMAction2 1.x: 6 clips a GPU; 0.x has 4",
    "batchnorm_statistics": "MMAction2 1.x: SyncBuffersHook averages over the GPUs; 0.x has the first GPU's",
}
STHV1_16F_OFFICIAL = {
    **V1_OFFICIAL,
    "lr": "ours: the rate of the authors' 8-frame script; they publish none for 16 frames",
    "lr_batch": "ours: the batch of the authors' 8-frame script; they publish none for 16 frames",
    "clips_per_process": "ours: half of sthv1_8f, for memory; the rate follows the actual batch",
    "batchnorm_statistics": "official: the first GPU's, because DataParallel drops those of the others",
}

STHV2_8F = {
    **STHV1_8F,
    **TO_OFFICIAL,
    "dataset": "official: Something-Something V2",
    "num_classes": "official: the classes of Something-Something V2",
    "arch": "official: ResNet-50",
    "num_frames": "official: 8 frames",
    "dropout": "official: 0.5",
    "init": "official: torchvision's ResNet-50 trained on ImageNet",
    "sampling": "official: one frame of each of T segments",
    "keep_tail": "official: segments of n // T frames",
    "style": "ours: the field names the code base to follow; only the authors publish rows for V2",
    "crop_size": "official: 224",
    "test_size": "official: crops of 256",
    "crop_scales": "official: GroupMultiScaleCrop",
    "flip": "official: flip with the labels of mirrored classes swapped; only V1 is not flipped",
    "protocols": "official: accurate (2 clips x 3 crops)",
    "epochs": "official: 50",
    "lr": "official: 0.02",
    "lr_batch": "official: --batch-size 128",
    "lr_steps": "official: 30, 40, 45",
    "warmup_epochs": "official: no warm-up",
    "clips_per_process": "ours: 8 GPUs x 16 clips make the official 128; the script expects 4 GPUs x 32",
    "balanced": "official: every video once an epoch",
    "label_smoothing": "official: none",
    "momentum": "official: 0.9",
    "weight_decay": "official: 5e-4",
    "clip_grad_norm": "official: --gd 20",
    "classifier_lr": "official: x5 for the weight and x10 for the bias",
    "frozen_stages": "official: all weights are trained",
    "sync_batchnorm": "official: off",
    "batchnorm_statistics": "official: the first GPU's, because DataParallel drops those of the others",
    "workers": "ours: as many as the machine's cores allow; the official V2 script has 2",
    "precision": "official: no mixed precision",
}
V2_MMACTION2 = {
    **TO_MMACTION2,
    "short_side": "ours: 256 before the training crop, as in MMAction2's TANet configurations, which leave V2 out",
    "param_groups": K400_8F["param_groups"],
    "protocols": "ours: efficient and accurate, as MMAction2 tests V1",
}

STHV2_16F = {
    **STHV2_8F,
    "num_frames": "official: 16 frames",
    "lr": "ours: the rate of sthv2_8f; no 16-frame V2 script is published",
    "lr_batch": "ours: the batch of sthv2_8f; no 16-frame V2 script is published",
    "clips_per_process": "ours: half of sthv2_8f, for memory; the rate follows the actual batch",
}

DEMO_SIZE = {"short_side": "ours: small frames, for speed"}
DEMO_KINETICS = {
    **K400_8F,
    **DEMO_SIZE,
    "dataset": "ours: demo videos in the format of Kinetics-400",
    "num_classes": "ours: the demo videos show 8 classes",
    "arch": "ours: a network small enough for 2 CPU cores",
    "init": "ours: there are no ImageNet weights of tanet_tiny",
    "keep_tail": "ours: on, because the demo reproduces no published figure; it concerns uniform sampling",
    "dropout": "ours: none, because the network is small and the training short",
    "crop_size": "ours: small frames, for speed",
    "test_size": "ours: small frames, for speed; the same as crop_size",
    "crop_scales": "ours: the two largest published scales, because small frames lose too much in a smaller crop",
    "flip": "ours: mirrored demo classes differ, so their labels are swapped",
    "epochs": "ours: 6, enough for the 8 demo classes",
    "lr": "ours: 0.1, high because the weights start at random and the training is short",
    "lr_batch": "ours: one process x 8 clips",
    "lr_steps": "ours: before the last of the 6 epochs",
    "warmup_epochs": "ours: half an epoch, because the rate is high for random weights",
    "clips_per_process": "ours: 8 clips, which a CPU can hold",
    "classifier_lr": "ours: 0.1, because from random weights the classifier must not outrun its features",
    "workers": "ours: 1, because a CPU has few cores to spare",
    "precision": "ours: float32, so that the demo is the same on every CPU and nothing is tried out",
    "memory_format": "ours: channels_last, so that nothing is tried out",
    "compile": "ours: off, because compiling takes longer than the training",
}

DEMO_SOMETHING = {
    **DEMO_KINETICS,
    "dataset": "ours: demo videos in the format of Something-Something V1",
    "sampling": STHV1_8F["sampling"],
    "protocols": STHV1_8F["protocols"],
    "epochs": "ours: 8, enough for the 8 demo classes",
    "lr_steps": "ours: before the last of the 8 epochs",
    "classifier_lr": "ours: 0.05, for the reason that demo_kinetics gives",
}

DEMO_LATE = {
    **DEMO_SOMETHING,
    "num_classes": "ours: the videos show 4 classes",
    "num_frames": "ours: 12, so that no network of four shifts brings the two ends of a clip together",
    "epochs": "ours: 10, enough for the 4 classes",
    "lr_steps": "ours: before the last two of the 10 epochs",
    "short_side": "ours: smaller frames than the other demo sets', because the clips are longer",
    "crop_size": "ours: smaller frames than the other demo sets', because the clips are longer",
    "test_size": "ours: smaller frames than the other demo sets', the same as crop_size",
}

OWN = {
    "dataset": "ours: class folders or a table of one's own",
    "num_classes": "ours: 0, counted in the data when a training begins",
    "sampling": "ours: one frame of each of T segments, because one's own clips are short and show one action each",
    "keep_tail": "ours: on, because nothing published is to be reproduced and short clips lose frames without it",
    "flip": "ours: labels of mirrored classes are swapped; without such classes this is the plain flip",
    "protocols": "ours: the tests of uniform sampling",
}
OWN_8F = {
    **K400_8F,
    **OWN,
    "arch": "ours: the network that most checkpoints are published for",
    "num_frames": "ours: 8 frames, the cheaper of the two published numbers",
    "init": "ours: ImageNet; a published TANet checkpoint is better where there is one",
    "epochs": "ours: 50, as for Something-Something; the rate's steps follow when it is changed",
    "lr_steps": "ours: at 60, 80 and 90% of the run, as for Something-Something",
    "weight_decay": "ours: 5e-4, between the published values, because small data sets need more than Kinetics",
    "precision": "ours: mixed precision where the device measures a gain",
}
OWN_TINY = {
    **DEMO_SOMETHING,
    **OWN,
    "short_side": "ours: small frames, for a CPU",
    "crop_size": "ours: 112, the usual size of small video networks",
    "test_size": "ours: the same as crop_size",
    "epochs": "ours: 30, for some hundred videos; the rate's steps follow when it is changed",
    "lr_steps": "ours: late in the run, because random weights need a high rate for long",
    "warmup_epochs": "ours: 2 epochs, because the rate is high for random weights and an epoch may be a few steps",
    "workers": "ours: as many as the machine's cores allow",
}
