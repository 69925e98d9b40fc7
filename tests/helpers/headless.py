"""Chromium without a window, driven over the pipe of its DevTools protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
FLAGS = (
    '--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking '
    '--disable-component-update --disable-sync --disable-quic --remote-debugging-pipe'
)


class Headless:
    """One page; ``requests`` are the addresses that it has asked for."""

    def __init__(self, profile, width=1280, height=900):
        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()
        command = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        flags = [*FLAGS.split(), f'--user-data-dir={profile}', f'--window-size={width},{height}']
        self.process = subprocess.Popen(
            ['bash', '-c', command, CHROMIUM, *flags, 'about:blank'],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self.number, self.rest, self.session, self.requests = 0, b'', None, []
        targets = self.call('Target.getTargets')['targetInfos']
        target = next(t['targetId'] for t in targets if t['type'] == 'page')
        found = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self.session = found['sessionId']
        for domain in ('Page', 'Runtime', 'DOM', 'Network'):
            self.call(f'{domain}.enable')
        self.resize(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.inp)

    def call(self, method, **params):
        self.number += 1
        message = dict(id=self.number, method=method, params=params)
        if self.session:
            message['sessionId'] = self.session
        os.write(self.out, json.dumps(message).encode() + b'\0')
        while (answer := self._read()).get('id') != self.number:
            if answer.get('method') == 'Network.requestWillBeSent':
                self.requests.append(answer['params']['request']['url'])
        assert 'error' not in answer, answer
        return answer['result']

    def _read(self, seconds=180):
        while b'\0' not in self.rest:
            assert select.select([self.inp], [], [], seconds)[0], 'Chromium does not answer'
            part = os.read(self.inp, 1 << 20)
            assert part, 'Chromium has ended'
            self.rest += part
        line, _, self.rest = self.rest.partition(b'\0')
        return json.loads(line)

    def resize(self, width, height):
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def go(self, address):
        self.call('Page.navigate', url=address)

    def run(self, script):
        """Return the value of a JavaScript expression."""
        found = self.call('Runtime.evaluate', expression=script, returnByValue=True)
        return found['result'].get('value')

    def wait(self, script, seconds=180):
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f'{script}\n{self.run("document.body.innerText")}'
            time.sleep(0.2)
        return value

    def click(self, x, y):
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def give_file(self, selector, path):
        root = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', nodeId=node, files=[str(path)])

    def picture(self, path, whole=True):
        found = self.call('Page.captureScreenshot', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found['data']))
