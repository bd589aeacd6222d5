"""The suite on the toy and on its broken relatives, for `test_check_contract` to run."""

from __future__ import annotations

from harness.testing import BackendContract

# The mistake, the test that must notice it, and what that says.
FAULTS = {
    "Babbling": ("test_it_answers_every_question_of_a_worker", "not a message: it starts with"),
    "Listing": ("test_it_answers_every_question_of_a_worker", "returned a list instead of a NumPy"),
    "Fixed": ("test_it_opens_the_source_that_lies_there", "DID NOT RAISE"),
    "Dated": ("test_it_writes_the_same_source_each_time", "assert "),
    "Wrong": ("test_it_is_the_same_network_as_the_reference[strides]", "conv1 (evaluation)"),
    "Gathered": ("test_reset_sets_every_parameter_and_running_statistic", "bn1.mean differs"),
    "Moving": ("test_reset_makes_the_optimizer_new[sgd]", "losses differs"),
    "Moving adam": ("test_reset_makes_the_optimizer_new[adam]", "losses differs"),
    "Moving rmsprop": ("test_reset_makes_the_optimizer_new[rmsprop]", "losses differs"),
    "Unseeded": ("test_reset_makes_the_random_state_new", "losses differs"),
    "SameSeed": ("test_dropout_is_drawn_by_the_seed_and_anew_for_every_step", "drew the same"),
    "SameStep": ("test_dropout_is_drawn_by_the_seed_and_anew_for_every_step", "drew the same"),
    "Unscaled": ("test_dropout_drops_its_rate_and_scales_the_rest", "1.33"),
    "Rate": ("test_dropout_drops_its_rate_and_scales_the_rest", "0.25"),
    "Maskless": ("test_masks_that_are_given_are_used", "train pays no attention to masks"),
    "MasklessGradients": ("test_masks_that_are_given_are_used", "gradients pays no attention to"),
    "Dropping": ("test_masks_that_are_given_are_used", "logits differs"),
    "Filling": ("test_a_partial_batch_counts_its_images_and_no_others[3]", "assert "),
    "Company": ("test_a_partial_batch_counts_its_images_and_no_others[3]", " differs by "),
    "Learning": ("test_evaluation_changes_nothing_that_is_kept", "bn1.mean differs"),
    "Drawing": ("test_evaluation_changes_nothing_that_is_kept", "losses differs"),
    "Restarting": ("test_training_in_one_call_or_in_several_is_the_same", "losses differs"),
    "LoadingOnce": ("test_loading_again_replaces_the_images", "assert not"),
    "Viewing": ("test_what_it_returned_never_changes", "train() changed what state() had returned"),
    "ViewingGradients": ("test_what_it_returned_never_changes", "changed what gradients()"),
    "Early": ("test_train_returns_when_its_device_is_done", "train returns before its device is"),
    "Hoarding": ("test_close_frees_what_the_session_held", "bytes more after sessions"),
    "Half": ("test_it_answers_every_question_of_a_worker", "is no backend: it has no devices"),
}
ELSEWHERE = {"Wrong": "toy_plugin", "Half": "toy_plugin"}


class TestHonest(BackendContract):
    target = "toy_faults:Honest"
    networks = ("strides", "norms")


for mistake in FAULTS:
    name = mistake.split()[0]
    target = f"{ELSEWHERE.get(name, 'toy_faults')}:{name}"
    body = {"target": target, "networks": ("strides",)}
    globals()[f"Test{name}"] = type(f"Test{name}", (BackendContract,), body)
