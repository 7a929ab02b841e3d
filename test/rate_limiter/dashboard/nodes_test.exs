defmodule RateLimiter.Dashboard.NodesTest do
  use ExUnit.Case, async: true

  alias RateLimiter.Dashboard.Nodes

  test "this node is always there, and is the default" do
    assert hd(Nodes.names()) == Atom.to_string(node())
    assert {:ok, %{node: node}} = Nodes.view(nil)
    assert {:ok, %{node: ^node}} = Nodes.view(Atom.to_string(node))
  end

  test "a name that no connected node has is unknown, and makes no atom" do
    name = "shop_#{System.unique_integer([:positive])}@nowhere"
    assert Nodes.view(name) == :unknown
    assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
  end
end
