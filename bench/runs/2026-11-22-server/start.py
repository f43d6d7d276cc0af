#!/usr/bin/env python3
"""From starting `fathom serve` to the first 200 of /health, in milliseconds: python3 start.py FATHOM [RUNS] [ARGUMENTS...]"""
import http.client, os, socket, subprocess, sys, tempfile, time

fathom, runs, more = sys.argv[1], int((sys.argv[2:] or ["10"])[0]), sys.argv[3:]
times = []
for run in range(runs):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home}
        start = time.monotonic()
        server = subprocess.Popen([fathom, "serve", "--port", str(port), *more], env=environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            except ConnectionRefusedError:
                time.sleep(0.001)
        times.append(1000 * (time.monotonic() - start))
        server.terminate()
        server.wait()
    print(f"run {run + 1}: {times[-1]:.0f} ms", flush=True)
times.sort()
print(f"least {times[0]:.0f} ms, median {times[len(times) // 2]:.0f} ms, most {times[-1]:.0f} ms")
