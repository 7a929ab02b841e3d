[
  inputs: [
    "{mix,.formatter}.exs",
    "mix/**/*.exs",
    "{config,lib,test,bench,guides}/**/*.{ex,exs}",
    "vendor/*/{mix,.formatter}.exs",
    "vendor/*/{lib,test}/**/*.{ex,exs}"
  ]
]
