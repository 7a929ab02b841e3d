defmodule RateLimiter.Top.ReaderTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Top.Reader

  test "a name without a host is refused before this node is distributed" do
    for name <- ["shop", "@host", "shop@", "a@b@c"] do
      assert {:error, "--node: expected a name and a host" <> _, 2} = Reader.join(name, nil)
    end

    refute Node.alive?()
  end

  test "a node that does not reply is an error in words" do
    assert {:error, problem} = Reader.read(:gone@localhost)
    assert problem =~ ~r/\Ano reply from gone@localhost: .*noconnection/
  end

  test "a node that replies is read as it is" do
    assert %{node: :nonode@nohost, instances: _} = Reader.read(node())
  end
end
