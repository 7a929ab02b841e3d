defmodule RateLimiter.Replay.SourceTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Replay.Source

  @moduletag :tmp_dir

  defp file(%{tmp_dir: dir}, content) do
    path = Path.join(dir, "log")
    File.write!(path, content)
    path
  end

  # The content of a source, and how it ends.
  defp read_all(path) do
    {:ok, source} = Source.open(path)
    result = read_all(source, [])
    Source.close(source)
    result
  end

  defp read_all(source, parts) do
    case Source.read(source) do
      {:ok, bytes, source} -> read_all(source, [parts | bytes])
      ended -> {IO.iodata_to_binary(parts), ended}
    end
  end

  # Text that compresses to more than one piece.
  defp noise(bytes), do: bytes |> div(2) |> :crypto.strong_rand_bytes() |> Base.encode16()

  test "a plain file is read to its end, also an empty one", context do
    assert read_all(file(context, "")) == {"", :eof}
    text = noise(700_000)
    assert read_all(file(context, text)) == {text, :eof}
  end

  test "gzip is detected by its first bytes, not by its name", context do
    text = noise(900_000)
    assert read_all(file(context, :zlib.gzip(text))) == {text, :eof}
    assert read_all(file(context, :zlib.gzip(""))) == {"", :eof}
  end

  test "several gzip members in a file are one log", context do
    parts = for _ <- 1..5, do: noise(300_000)
    assert read_all(file(context, Enum.map(parts, &:zlib.gzip/1))) == {Enum.join(parts), :eof}
  end

  test "a small gzip with a large content is read in pieces", context do
    path = file(context, :zlib.gzip(:binary.copy("0", 50_000_000)))
    {:ok, source} = Source.open(path)
    {:ok, bytes, _source} = Source.read(source)
    assert byte_size(bytes) < 1_000_000
    Source.close(source)
  end

  test "truncated gzip is read up to its end, also if only checksums are missing", context do
    text = noise(500_000)
    packed = :zlib.gzip(text)

    for keep <- [byte_size(packed) - 1, byte_size(packed) - 9, 200_000, 12] do
      path = file(context, binary_part(packed, 0, keep))
      {read, ended} = read_all(path)
      assert ended == {:eof, "#{path}: its gzip data is cut off"}
      assert String.starts_with?(text, read)
    end

    # A file that ends between two members is complete.
    assert {_, :eof} = read_all(file(context, [packed, packed]))
  end

  test "damaged gzip is read up to the damage", context do
    text = noise(900_000)
    <<head::binary-size(400_000), _::64, rest::binary>> = :zlib.gzip(text)
    path = file(context, [head, <<-1::64>>, rest])
    {read, ended} = read_all(path)
    assert ended == {:eof, "#{path}: its gzip data is damaged"}
    assert byte_size(read) > 300_000

    # The last bytes may be wrong: zlib reports the damage a little after it.
    assert String.starts_with?(text, binary_part(read, 0, 300_000))
  end

  test "a wrong checksum loses no bytes, wherever its member ends", context do
    for bytes <- [100, 300_000, 3_000_000], flipped <- [1, 5] do
      text = noise(bytes)
      packed = :zlib.gzip(text)
      {head, tail} = String.split_at(Base.encode16(packed), -2 * flipped)
      <<digit, rest::binary>> = tail
      wrong = Base.decode16!(head <> if(digit == ?0, do: "1", else: "0") <> rest)

      for {log, expected} <- [{wrong, text}, {[:zlib.gzip("a"), wrong, packed], "a" <> text}] do
        path = file(context, log)
        {read, ended} = read_all(path)
        assert ended == {:eof, "#{path}: its gzip data is damaged"}
        assert byte_size(read) == byte_size(expected)
        assert read == expected
      end
    end
  end

  test "UTF-16 is refused with the command that converts it", context do
    text = String.duplicate("10.0.0.1 - - \n", 9)

    for encoding <- [{:utf16, :little}, {:utf16, :big}],
        mark <- ["", :unicode.encoding_to_bom(encoding)] do
      path = file(context, [mark, :unicode.characters_to_binary(text, :utf8, encoding)])

      assert Source.open(path) ==
               {:error,
                "#{path}: expected UTF-8, got: UTF-16. Convert it first: " <>
                  "iconv -f UTF-16 -t UTF-8 FILE | mix rate_limiter.replay - ..."}
    end
  end

  test "bytes after the end of gzip are damage", context do
    path = file(context, [:zlib.gzip("text\n"), "rubbish that is not gzip"])
    assert read_all(path) == {"text\n", {:eof, "#{path}: its gzip data is damaged"}}
  end

  test "other compressions are refused with the command that decompresses them", context do
    path = file(context, <<0x28, 0xB5, 0x2F, 0xFD, 0, 0>>)

    assert Source.open(path) ==
             {:error,
              "#{path}: expected text or gzip, got: zstd. Decompress it first: " <>
                "zstd -dc FILE | mix rate_limiter.replay - ..."}
  end

  test "a file that cannot be opened returns the reason", %{tmp_dir: dir} do
    assert Source.open(dir) == {:error, "#{dir}: expected a file, got: a directory"}
    assert Source.open(dir <> "/none") == {:error, "#{dir}/none: no such file or directory"}
  end
end
