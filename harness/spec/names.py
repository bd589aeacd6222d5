"""What layers may be called: their names become attributes and variables of generated source."""

from __future__ import annotations

import keyword
import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict
from typing_extensions import TypeAliasType

# Attributes of torch.nn.Module, keras.Model, nnx.Module and tf.Module that a layer's name
# would overwrite in the generated classes, and words that the generated sources use.
RESERVED = frozenset(
    """
add_module append apply axis backward bfloat16 bind buffers build build_from_config built call
call_super_init children compile compiled compute_loss compute_mask compute_metrics cpu cuda double
dtype dump_patches dynamic eval evaluate export extra_repr fit float forward functional get_buffer
get_config get_extra_state get_layer get_parameter get_submodule half images init input inputs ipu
iter_children iter_modules jax keras labels layers load_state_dict logits loss losses mean metrics
modules mtia mul name name_scope named_buffers named_children named_modules named_parameters nnx
non_trainable_variables np numpy optax optimizer output outputs parameters path perturb predict
quantize register register_backward_hook register_buffer register_forward_hook
register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad
requires_grad_ reset_states rng rngs run save self set_attributes set_extra_state set_submodule
share_memory sow state state_dict step step_count stop submodules summary supports_masking targets
tf to to_empty torch train train_step trainable trainable_variables training type unflatten
variables weights with_name_scope x xpu zero_grad
""".split()
)

# A parameter is called by its layer's name and its role, so no layer may end in a role.
ROLES = ("kernel", "bias", "scale", "offset", "mean", "variance")


# What the branches of a block are called: no layer may begin as they do.
BRANCH = re.compile(r"shortcut|branch[0-9]")


def _identifier(value: str) -> str:
    """Names go into generated source, so they must be plain and harmless there."""
    if keyword.iskeyword(value) or keyword.issoftkeyword(value) or value in RESERVED:
        raise ValueError("is a reserved word; any other lower-case identifier is allowed")
    if BRANCH.match(value):
        raise ValueError("begins like the name of a branch; allowed: not shortcut..., branch1...")
    for role in ROLES:
        if value.endswith(f"_{role}"):
            raise ValueError(f"ends like the name of a parameter; allowed: not in _{role}")
    return value


# The same for editors, which know no Python.
FORBIDDEN: JsonDict = {
    "not": {
        "anyOf": [
            {"enum": [*sorted({*keyword.kwlist, *keyword.softkwlist, *RESERVED})]},
            {"pattern": f"_({'|'.join(ROLES)})$"},
            {"pattern": f"^({BRANCH.pattern})"},
        ]
    }
}
Name = TypeAliasType(  # so that a schema holds it once
    "Name",
    Annotated[
        str,
        Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", json_schema_extra=FORBIDDEN),
        AfterValidator(_identifier),
    ],
)
