"""Fine-tuning of BLIP: a plan in, events and checkpoints out. It knows neither queue nor SQL.

`python -m blipq.worker.engine.training.child` is how a worker runs it: a child process, so that its memory is given
back and a crash touches nobody.
"""
