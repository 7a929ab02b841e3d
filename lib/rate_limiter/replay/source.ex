defmodule RateLimiter.Replay.Source do
  @moduledoc false
  # One log, read in pieces: a file, plain or gzip, or standard input.
  #
  # The first bytes tell whether a file is gzip, not its name. Several gzip members in one file are one log, as
  # `cat a.gz b.gz` makes them.

  @enforce_keys [:name, :device, :size]
  defstruct [:name, :device, :size, :inflater, :first, :ended, read: 0, segments: [], held: ""]

  @type t :: %__MODULE__{
          name: String.t(),
          device: :stdio | :file.fd(),
          size: pos_integer | nil,
          inflater: :zlib.zstream() | nil,
          first: binary | nil,
          ended: :eof | {:eof, String.t()} | nil,
          read: non_neg_integer,
          segments: [binary],
          held: binary
        }

  @piece 256 * 1024
  @stdin "standard input"

  # Other compressions: magic bytes, name and the command that decompresses.
  @packed [
    {<<0x28, 0xB5, 0x2F, 0xFD>>, "zstd", "zstd -dc"},
    {"BZh", "bzip2", "bzip2 -dc"},
    {<<0xFD, "7zXZ", 0>>, "xz", "xz -dc"},
    {<<"PK", 3, 4>>, "zip", "unzip -p"}
  ]

  @doc "Returns the same for two names of one file."
  @spec identity(String.t()) :: term
  def identity(path) do
    case File.stat(path) do
      {:ok, %{type: :regular, inode: inode} = stat} when inode > 0 -> {stat.major_device, inode}
      _ -> path
    end
  end

  @doc "Opens `path`, or standard input for `-`."
  @spec open(String.t()) :: {:ok, t} | {:error, String.t()}
  def open("-") do
    # A log may hold bytes that are not valid in the encoding of the terminal.
    :io.setopts(:standard_io, binary: true, encoding: :latin1)
    {:ok, %__MODULE__{name: @stdin, device: :stdio, size: nil}} |> recognised()
  end

  def open(path) do
    with {:ok, device} <- :file.open(path, [:read, :raw, :binary]) do
      {:ok, %__MODULE__{name: path, device: device, size: size(path)}} |> recognised()
    else
      {:error, reason} -> {:error, "#{path}: #{reason_text(reason)}"}
    end
  end

  @doc """
  Returns the next bytes of the log, `:eof` at its end, or `{:eof, problem}` if the rest cannot be read.
  """
  @spec read(t) :: {:ok, binary, t} | :eof | {:eof, String.t()}
  def read(%__MODULE__{inflater: nil} = source) do
    case raw(source) do
      {:ok, bytes, source} -> {:ok, bytes, source}
      :eof -> :eof
      {:error, reason} -> {:eof, "#{source.name}: #{reason_text(reason)}"}
    end
  end

  def read(%__MODULE__{} = source), do: inflated(source, [], 0)

  @doc "Closes the log."
  @spec close(t) :: :ok
  def close(%__MODULE__{inflater: inflater, device: device}) do
    if inflater, do: :zlib.close(inflater)

    if device == :stdio,
      do: :io.setopts(:standard_io, encoding: :unicode),
      else: :file.close(device)

    :ok
  end

  defp recognised({:ok, source}) do
    case raw(source) do
      {:ok, <<0x1F, 0x8B, _rest::binary>> = bytes, source} ->
        inflater = :zlib.open()
        # 31: the largest window and a gzip header.
        :ok = :zlib.inflateInit(inflater, 31, :reset)
        {:ok, %{source | inflater: inflater, first: bytes}}

      {:ok, bytes, source} ->
        unpacked(bytes, source)

      :eof ->
        {:ok, source}

      {:error, reason} ->
        close(source)
        {:error, "#{source.name}: #{reason_text(reason)}"}
    end
  end

  # Text in UTF-16, with a mark of its byte order or with a zero byte in each of its first characters.
  defp utf16?(<<mark::16, _rest::binary>>) when mark in [0xFFFE, 0xFEFF], do: true
  defp utf16?(<<a, 0, b, 0, _rest::binary>>), do: a * b > 0
  defp utf16?(<<0, a, 0, b, _rest::binary>>), do: a * b > 0
  defp utf16?(_bytes), do: false

  defp unpacked(bytes, source) do
    packed = Enum.find(@packed, fn {magic, _, _} -> String.starts_with?(bytes, magic) end)

    cond do
      packed != nil ->
        {_magic, name, command} = packed
        refused(source, "text or gzip", name, "Decompress it first: #{command} FILE")

      utf16?(bytes) ->
        refused(source, "UTF-8", "UTF-16", "Convert it first: iconv -f UTF-16 -t UTF-8 FILE")

      true ->
        {:ok, %{source | first: bytes}}
    end
  end

  defp refused(source, expected, got, command) do
    close(source)

    {:error,
     "#{source.name}: expected #{expected}, got: #{got}. #{command} | mix rate_limiter.replay - ..."}
  end

  defp raw(%__MODULE__{first: bytes} = source) when is_binary(bytes),
    do: {:ok, bytes, %{source | first: nil}}

  defp raw(%__MODULE__{device: :stdio} = source), do: counted(IO.binread(:stdio, @piece), source)

  defp raw(%__MODULE__{device: device} = source) do
    case :file.read(device, @piece) do
      {:ok, bytes} -> counted(bytes, source)
      other -> other
    end
  end

  defp counted(bytes, source) when is_binary(bytes),
    do: {:ok, bytes, %{source | read: source.read + byte_size(bytes)}}

  defp counted(other, _source), do: other

  # Collects the small parts of zlib to about one piece. A small file may decompress to a large one, which is never
  # in memory as a whole. The bytes before a damage count.
  defp inflated(%__MODULE__{ended: ended}, [], _size) when ended != nil, do: ended

  defp inflated(%__MODULE__{ended: ended} = source, parts, size)
       when ended != nil or size >= @piece,
       do: {:ok, IO.iodata_to_binary(parts), source}

  defp inflated(source, parts, size) do
    {more, source} = inflate(source)
    inflated(source, collect(parts, more), size + IO.iodata_length(more))
  end

  defp collect(parts, []), do: parts
  defp collect(parts, more), do: [parts | more]

  defp inflate(%__MODULE__{inflater: inflater} = source) do
    case safe_inflate(inflater, []) do
      {_, []} -> inflate_next(source)
      {_, more} -> {more, source}
      :damaged -> ended(source, "its gzip data is damaged")
    end
  end

  defp inflate_next(%__MODULE__{inflater: inflater} = source) do
    with {:ok, bytes, source} <- segment(source),
         {_, more} <- safe_inflate(inflater, bytes) do
      {more, source}
    else
      :damaged ->
        ended(source, "its gzip data is damaged")

      {:error, reason} ->
        ended(source, reason_text(reason))

      :eof ->
        if whole?(inflater), do: ended(source), else: ended(source, "its gzip data is cut off")
    end
  end

  # A wrong checksum makes zlib drop what it has just inflated. So the bytes that may be the checksum of a member, before
  # the header of the next one and at the end of the file, are inflated alone, when all before them is read.
  @checksum 8
  @header <<0x1F, 0x8B, 8>>

  defp segment(%__MODULE__{segments: [bytes | segments]} = source),
    do: {:ok, bytes, %{source | segments: segments}}

  defp segment(%__MODULE__{held: held} = source) do
    case raw(source) do
      {:ok, bytes, source} ->
        {whole, held} = split_end(held <> bytes, @checksum + byte_size(@header) - 1)
        segment(%{source | segments: split_members(whole, held), held: held})

      :eof when held != "" ->
        {before, checksum} = split_end(held, @checksum)
        segment(%{source | segments: Enum.reject([before, checksum], &(&1 == "")), held: ""})

      ended ->
        ended
    end
  end

  defp split_end(bytes, count) do
    size = max(byte_size(bytes) - count, 0)
    {binary_part(bytes, 0, size), binary_part(bytes, size, byte_size(bytes) - size)}
  end

  defp split_members(whole, held) do
    headers = for {at, _} <- :binary.matches(whole <> held, @header), do: at
    cuts = Enum.flat_map(headers, &[&1 - @checksum, &1])
    ends = [byte_size(whole) | cuts] |> Enum.filter(&(&1 in 1..byte_size(whole)//1))
    ends = Enum.sort(Enum.uniq(ends))
    for {from, to} <- Enum.zip([0 | ends], ends), do: binary_part(whole, from, to - from)
  end

  defp ended(source), do: {[], %{source | ended: :eof}}
  defp ended(source, problem), do: {[], %{source | ended: {:eof, "#{source.name}: #{problem}"}}}

  defp safe_inflate(inflater, bytes) do
    :zlib.safeInflate(inflater, bytes)
  rescue
    ErlangError -> :damaged
  end

  # An inflater that continues after a member does not report whether that member was complete. Another member
  # shows it: it is inflated correctly only after a complete one.
  defp whole?(inflater) do
    probe = "whole"
    match?({_, [^probe]}, safe_inflate(inflater, :zlib.gzip(probe)))
  end

  defp size(path) do
    case File.stat(path) do
      {:ok, %{type: :regular, size: size}} when size > 0 -> size
      _ -> nil
    end
  end

  defp reason_text(:eisdir), do: "expected a file, got: a directory"
  defp reason_text(reason) when is_atom(reason), do: List.to_string(:file.format_error(reason))
  defp reason_text(reason), do: inspect(reason)
end
