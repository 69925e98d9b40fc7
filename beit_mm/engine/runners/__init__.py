from beit_mm.engine.runners.quiet_runner import QuietRunner
