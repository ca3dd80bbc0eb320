"""The digest of a lock of wheels on the standard input, as awqdeploy and nix/runtime/lock.nix reckon it."""

import hashlib
import re
import sys

text = sys.stdin.read()
value = lambda key, part: re.search(rf'^{key} = "(.*)"$', part, re.MULTILINE)[1]
head, *wheels = text.split("[[wheel]]")
lines = sorted((value("name", wheel), f"{value('sha256', wheel)} {value('file', wheel)}\n") for wheel in wheels)
listing = f"awqdeploy runtime 1\npython {value('python', head)}\nplatform {value('platform', head)}\n"
print(hashlib.sha256((listing + "".join(line for _, line in lines)).encode()).hexdigest())
