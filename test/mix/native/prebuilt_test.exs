defmodule RateLimiter.Native.PrebuiltTest do
  # The environment is one for all tests.
  use ExUnit.Case

  import ExUnit.CaptureIO
  import RateLimiter.Support.Environment

  alias RateLimiter.Native.Prebuilt

  setup do
    without(~w(RATE_LIMITER_BUILD RATE_LIMITER_MIRROR CARGO_BUILD_TARGET))

    root =
      Path.join(System.tmp_dir!(), "rate_limiter_prebuilt_#{System.unique_integer([:positive])}")

    mirror = Path.join(root, "mirror")
    File.mkdir_p!(mirror)

    on_exit(fn -> File.rm_rf!(root) end)

    {:ok, target} = Prebuilt.target()
    name = Prebuilt.file_name("9.9.9", target)
    %{root: root, mirror: mirror, name: name}
  end

  defp release(%{root: root, mirror: mirror, name: name}, content) do
    File.write!(Path.join(mirror, name), :zlib.gzip(content))
    offer(root, name, File.read!(Path.join(mirror, name)))
  end

  defp offer(root, name, content) do
    checksum = Base.encode16(:crypto.hash(:sha256, content), case: :lower)
    File.write!(Path.join(root, "checksums.exs"), inspect(%{name => checksum}))
  end

  defp serve(directory) do
    {:ok, server} =
      :inets.start(:httpd,
        port: 0,
        bind_address: {127, 0, 0, 1},
        server_name: to_charlist("mirror"),
        server_root: to_charlist(directory),
        document_root: to_charlist(directory)
      )

    on_exit(fn -> :inets.stop(:httpd, server) end)
    "http://127.0.0.1:#{:httpd.info(server)[:port]}/"
  end

  describe "fetch/2" do
    test "leaves the build to Cargo where the package lists no checksums", context do
      assert Prebuilt.fetch(context.root, "9.9.9") == :none
    end

    test "leaves the build to Cargo where the release offers nothing for this version", context do
      release(context, "a library")
      assert Prebuilt.fetch(context.root, "9.9.8") == :none
    end

    test "leaves the build to Cargo where RATE_LIMITER_BUILD is set", context do
      release(context, "a library")
      System.put_env("RATE_LIMITER_MIRROR", "file://" <> context.mirror)
      System.put_env("RATE_LIMITER_BUILD", "1")
      assert Prebuilt.fetch(context.root, "9.9.9") == :none
    end

    test "leaves the build to Cargo for another target", context do
      release(context, "a library")
      System.put_env("CARGO_BUILD_TARGET", "riscv64gc-unknown-linux-gnu")
      assert Prebuilt.fetch(context.root, "9.9.9") == :none
    end

    test "returns the unpacked library of a mirror on disk", context do
      release(context, "a library")
      System.put_env("RATE_LIMITER_MIRROR", "file://" <> context.mirror)
      assert {:ok, path} = Prebuilt.fetch(context.root, "9.9.9")
      assert File.read!(path) == "a library"
    end

    test "returns the unpacked library of a mirror over HTTP", context do
      release(context, "a library from afar")
      System.put_env("RATE_LIMITER_MIRROR", serve(context.mirror))

      output =
        capture_io(fn ->
          assert {:ok, path} = Prebuilt.fetch(context.root, "9.9.9")
          assert File.read!(path) == "a library from afar"
        end)

      assert output =~ "Fetching http://127.0.0.1"
    end

    test "refuses a file with another checksum, and names both", context do
      release(context, "a library")
      File.write!(Path.join(context.mirror, context.name), :zlib.gzip("another library"))
      System.put_env("RATE_LIMITER_MIRROR", "file://" <> context.mirror)
      assert {:error, message} = Prebuilt.fetch(context.root, "9.9.9")
      assert message =~ context.name
      assert message =~ ~r/expected +SHA-256 [0-9a-f]{64}/
      assert message =~ ~r/got +SHA-256 [0-9a-f]{64}/
      assert message =~ "RATE_LIMITER_BUILD=1"
    end

    test "leaves the build to Cargo where the file cannot be fetched, and says why", context do
      release(context, "a library")
      File.rm!(Path.join(context.mirror, context.name))

      for {mirror, reason} <- [
            {"file://" <> context.mirror, "no such file or directory"},
            {serve(context.mirror), "404"}
          ] do
        System.put_env("RATE_LIMITER_MIRROR", mirror)
        output = capture_io(fn -> assert Prebuilt.fetch(context.root, "9.9.9") == :none end)
        assert output =~ reason
        assert output =~ "building with Cargo"
      end
    end
  end

  describe "target/2" do
    test "names the platforms as Rust does" do
      for {os, architecture, target} <- [
            {{:unix, :linux}, "x86_64-pc-linux-gnu", "x86_64-unknown-linux-gnu"},
            {{:unix, :linux}, "aarch64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"},
            {{:unix, :linux}, "x86_64-alpine-linux-musl", "x86_64-unknown-linux-musl"},
            {{:unix, :darwin}, "aarch64-apple-darwin23.5.0", "aarch64-apple-darwin"},
            {{:unix, :darwin}, "x86_64-apple-darwin22.1.0", "x86_64-apple-darwin"},
            {{:win32, :nt}, "win32", "x86_64-pc-windows-msvc"}
          ] do
        assert Prebuilt.target(os, architecture) == {:ok, target}
      end
    end

    test "knows no library for a platform without one" do
      assert Prebuilt.target({:unix, :linux}, "armv7l-unknown-linux-gnueabihf") == :unknown
      assert Prebuilt.target({:unix, :freebsd}, "amd64-portbld-freebsd14.0") == :unknown
    end
  end
end
