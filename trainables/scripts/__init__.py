"""Run a user's script as a trial: a command line for its configuration, its steps from what it tells, its checkpoints.

Before the start, workloads/script.py asks what is wrong with a command:
    entry_point, programs, runners, shell_scripts     what it starts, and whether that can work
    asking, parser, startup/parsers, help_text        what the script's own parser takes
    flags, command_flags, option_values               the words for a configuration; flags and values that are wrong
    config_file, base_config, started_files           the files that it reads, writes or starts from
    hydra_apps                                        what Hydra does otherwise

Then `run` carries out an assignment: it starts a process, looks at its channels, and yields each new step.
    process, environment, trial_folder                the child, its variables, the files that outlive it
    channels                                          report(), lines, loggers, a metrics file: Readings, in order
      output_stream > tables > printed > line, names  from bytes to names and numbers
      metrics_file, misnamed_file                     from rows to the same
      startup/sitecustomize                           what the script logs to W&B, MLflow or TensorBoard
      missing_metric, source_names                    the metric does not come, and never will
    step_count, phases                                from a Reading to its step, or a refusal; own_file: its remedy
    saving, starting_over                             when it may be ended; what it finds when it starts again
    shared_files, skipped_steps                       checkpoints that trials share, steps that are another trial's
    notices                                           what is told once in a sweep
    ending, errors, wrapping                          why it ended, from its output
"""
