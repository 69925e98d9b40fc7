import public_reports


def pytest_sessionfinish():
    public_reports.write()
