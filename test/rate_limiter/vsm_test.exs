defmodule RateLimiter.VSMTest do
  use ExUnit.Case, async: true

  setup do
    RateLimiter.Test.start(vsm: true)
  end

  doctest RateLimiter.VSM
  doctest RateLimiter.Algedonic
  doctest RateLimiter.Health
end
