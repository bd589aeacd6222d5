"""What a framework's own beginner tutorial teaches, timed beside the adapter of this project.

Each recipe is one module of one framework: models as its tutorial would write them, with every
default of the framework, and the tutorial's training loop. Each has `start(model, images, labels)`,
which returns an object whose `train(batches)` trains on the rows of each batch `[steps, batch]`
and returns when that is done.
"""
