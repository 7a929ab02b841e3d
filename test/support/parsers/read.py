# Reads a field in each line with http-sfv, and writes its members: names and parameters, separated by control characters.
import sys

from http_sfv import List

for line in sys.stdin.buffer:
    fields = List()
    fields.parse(line.rstrip(b"\n"))
    members = []
    for item in fields:
        assert isinstance(item.value, str), item
        parameters = [f"{name}={value}" for name, value in item.params.items()]
        assert all(type(value) is int for value in item.params.values()), item
        members.append("\x1e".join([item.value, *sorted(parameters)]))
    print("\x1f".join(members))
