# A test waits for what must come for up to two minutes, more than once where servers fail over.
ExUnit.start(timeout: 600_000)
