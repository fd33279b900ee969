"""Published experiment names say dataset, network and fold; any other string says nothing wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import read_experiment_name
from configs.experiment_name import DATASET_TOKENS, NETWORK_TOKENS

DATASET_SPELLINGS = {"CT_MMWHS": "mmwhs-ct", "MR_MMWHS": "mmwhs-mr", "MMWHS-CT": "mmwhs-ct",
                     "multimodalMR_MSD_BraTS": "msd-brats", "Hippocampus": "hippocampus"}
NETWORK_SPELLINGS = {"UNETR": "unetr", "SwinUNETR": "swinunetr", "Swin_UNETR": "swinunetr",
                     "nnUnet": "nnunet", "nn-UNet": "nnunet", "VNET": "vnet", "V-Net": "vnet",
                     "ResNet50UNet": "resnet50-unet", "resnet10-unet": "resnet10-unet",
                     "ResNet101_UNet": "resnet101-unet", "resnet-200-unet": "resnet200-unet"}


@pytest.mark.parametrize(("name", "dataset", "network", "fold"), [
    ("CT_MMWHS_UNETR_SelfDist_Original_Fold1.exp", "mmwhs-ct", "unetr", 1),
    ("MR_MMWHS_nnUnet_SelfDist_Original_Fold5.exp", "mmwhs-mr", "nnunet", 5),
    ("MR_MMWHS_SwinUNETR_Basic_Fold2.exp", "mmwhs-mr", "swinunetr", 2),
    ("multimodalMR_MSD_BraTS_VNET_SelfDist_Original.exp", "msd-brats", "vnet", None),
    ("multimodalMR_MSD_BraTS_SwinUNETR_Basic.exp", "msd-brats", "swinunetr", None),
    ("Hippocampus_nnUnet_SelfDist.exp", "hippocampus", "nnunet", None),
    ("hippocampus_unetr_dsd_Fold1.exp", "hippocampus", "unetr", 1),
    ("mmwhs-ct_nnunet_basic_Fold12.exp", "mmwhs-ct", "nnunet", 12),
    ("Hippocampus_ResNet50UNet_DeSD_SelfDist_Fold1.exp", "hippocampus", "resnet50-unet", 1),
])
def test_a_published_name_says_one_thing_of_each_kind(name, dataset, network, fold):
    hints = read_experiment_name(name)
    assert hints.dataset == (dataset,)
    assert hints.network == (network,)
    assert hints.fold == (() if fold is None else (fold,))


@pytest.mark.parametrize(("name", "method"), [
    ("Hippocampus_ResNet50UNet_DeSD_SelfDist_Fold1.exp", ("dsd",)),
    ("Hippocampus_ResNet50UNet_DeSD_Basic", ("basic",)), ("Hippocampus_DeSD_DSD", ("dsd",)),
    ("DeSD.exp", ()), ("DeSD_ResNet18_unet", ()),
])
def test_desd_in_a_name_is_not_the_method_dsd(name, method):
    assert read_experiment_name(name).method == method


@pytest.mark.parametrize("name", ["", ".exp", "phantoms.exp", "first try", "MMWHS.exp", "Fold.exp",
                                  "multimodalMR_MMWHS", "nnUNETR", "ResNet50", "ResNet51UNet"])
def test_a_name_that_says_nothing_gives_no_hint(name):
    hints = read_experiment_name(name)
    assert (hints.dataset, hints.network, hints.fold) == ((), (), ())


@pytest.mark.parametrize(("name", "kind", "said"), [
    ("CT_MMWHS_to_MR_MMWHS", "dataset", ("mmwhs-ct", "mmwhs-mr")),
    ("Hippocampus_BraTS", "dataset", ("msd-brats", "hippocampus")),
    ("UNETR_against_SwinUNETR", "network", ("swinunetr", "unetr")),
    ("nnUnet_VNET", "network", ("nnunet", "vnet")),
    ("Fold3_Fold1", "fold", (1, 3)),
])
def test_contradictions_are_all_reported(name, kind, said):
    assert getattr(read_experiment_name(name), kind) == said


def test_the_same_fold_twice_is_one_fold():
    assert read_experiment_name("Fold2_again_fold_2.exp").fold == (2,)


@pytest.mark.parametrize("suffix", ["", ".exp"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_letter_case_and_suffix_do_not_matter(case, suffix):
    hints = read_experiment_name(case("ct_mmwhs_unetr_fold4") + suffix)
    assert (hints.dataset, hints.network, hints.fold) == (("mmwhs-ct",), ("unetr",), (4,))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60))
def test_any_string_is_read_without_an_error(text):
    hints = read_experiment_name(text)
    assert set(hints.dataset) <= set(DATASET_TOKENS)
    assert set(hints.network) <= set(NETWORK_TOKENS)
    assert all(fold >= 0 for fold in hints.fold)


def test_a_fold_of_thousands_of_digits_is_read_without_an_error():
    assert read_experiment_name("Fold" + "9" * 5000).network == ()


@settings(deadline=None, max_examples=100)
@given(st.permutations(["dataset", "network", "fold"]), st.sampled_from(sorted(DATASET_SPELLINGS)),
       st.sampled_from(sorted(NETWORK_SPELLINGS)), st.integers(1, 99),
       st.sampled_from(["_", "-", " ", "_SelfDist_"]))
def test_tokens_are_found_in_any_order(order, dataset, network, fold, glue):
    spelled = {"dataset": dataset, "network": network, "fold": f"Fold{fold}"}
    hints = read_experiment_name(glue.join(spelled[kind] for kind in order) + ".exp")
    assert hints.dataset == (DATASET_SPELLINGS[dataset],)
    assert hints.network == (NETWORK_SPELLINGS[network],)
    assert hints.fold == (fold,)
