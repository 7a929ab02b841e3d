# A test waits for what must come for up to a minute, more than once where servers fail over.
ExUnit.start(timeout: 300_000)
