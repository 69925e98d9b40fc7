import fuzzing


def pytest_sessionfinish():
    fuzzing.report()
