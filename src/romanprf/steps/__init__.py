"""The steps of the workflow: one function ``run(inputs, outputs, params)`` each."""
