"""A monitor's policy replayed over the past: what was there when, the models that could have been
trained, and what the policy would have made of them."""
