defmodule RateLimiter.HTTP.ParsersTest do
  # Two independent parsers of Structured Fields read what is sent: see CONTRIBUTING.md for how to install them.
  use ExUnit.Case, async: true

  alias RateLimiter.HTTP
  alias RateLimiter.Support.StructuredFields

  @moduletag :parsers

  @scripts Path.expand("../../support/parsers", __DIR__)
  @names [:burst, :größe, :"a\"b", :"a\\b", :"%25", :"a\r\nb", :" ", :"a,b;c=1", :日本, :"x'y"]

  test "http-sfv and structured-headers read every field as it was meant" do
    fields = fields()
    assert length(fields) > 500
    file = Path.join(System.tmp_dir!(), "rate_limiter_fields_#{System.pid()}")
    on_exit(fn -> File.rm(file) end)
    File.write!(file, Enum.map(fields, &[&1, ?\n]))
    expected = Enum.map(fields, &members/1)

    assert read("python3", "read.py", file) == expected
    assert read("node", "read.mjs", file) == expected
  end

  # The fields of random histories.
  defp fields do
    :rand.seed(:exsss, {1, 2, 3})

    for n <- 1..60 do
      limiter = :"parsers_#{n}"

      windows =
        for name <- Enum.take_random(@names, :rand.uniform(4)) do
          algorithm = Enum.random([:token_bucket, :fixed_window, :sliding_window])
          limit = Enum.random([1, 7, 1_000, 4_000_000_000])

          {name,
           algorithm: algorithm,
           limit: limit,
           per: Enum.random([:second, :minute, :day, {300, :millisecond}])}
        end

      RateLimiter.Test.start(limiters: [{limiter, windows: windows}])

      for _ <- 1..5 do
        RateLimiter.Test.advance(:rand.uniform(1_000))
        answer = RateLimiter.check_and_track(limiter, 1, cost: Enum.random([0, 1, 3, 10_000]))
        for {name, value} <- HTTP.fields(answer), name != "retry-after", do: value
      end
    end
    |> List.flatten()
  end

  defp members(field) do
    Enum.map_join(StructuredFields.list!(field), "\x1F", fn {name, parameters} ->
      parameters = for {key, value} <- parameters, do: "#{key}=#{value}"
      Enum.join([name | Enum.sort(parameters)], "\x1E")
    end)
  end

  # HTTP_PARSERS is the folder with node_modules.
  defp read(program, script, file) do
    command = ~s(#{program} "$1" < "$2")
    directory = System.get_env("HTTP_PARSERS", ".")
    arguments = ["-c", command, "sh", Path.join(@scripts, script), file]
    {output, status} = System.cmd("sh", arguments, cd: directory, stderr_to_stdout: true)
    assert status == 0, output
    output |> String.split("\n") |> Enum.drop(-1)
  end
end
