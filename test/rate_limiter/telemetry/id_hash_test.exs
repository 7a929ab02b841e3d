defmodule RateLimiter.Telemetry.IdHashTest do
  # Not async: the key belongs to the whole node.
  use ExUnit.Case, async: false

  alias RateLimiter.Telemetry.IdHash

  setup do
    on_exit(&IdHash.draw_key/0)
  end

  test "a hash is the same under one key, another under another, and of another id" do
    IdHash.put_key("a", "first key", false)
    hash = IdHash.hash("ann")
    assert hash =~ ~r/^[0-9a-f]{16}$/
    assert IdHash.hash("ann") == hash
    assert IdHash.key_name() == "a"
    for other <- ["Ann", :ann, ~c"ann", {"ann"}, ["ann"]], do: assert(IdHash.hash(other) != hash)
    IdHash.put_key("b", "another key", false)
    assert IdHash.hash("ann") != hash
    IdHash.put_key("a", "first key", false)
    assert IdHash.hash("ann") == hash
  end

  test "a hash under a known key is what it always was, on each release of OTP" do
    IdHash.put_key("a", "first key", false)

    # The external term format, version 2: 131, 119 for an atom in UTF-8, 109 for a binary.
    for {id, encoded} <- [{:ann, <<131, 119, 3, "ann">>}, {"ann", <<131, 109, 3::32, "ann">>}] do
      <<first::binary-size(8), _rest::binary>> = :crypto.mac(:hmac, :sha256, "first key", encoded)
      assert IdHash.hash(id) == Base.encode16(first, case: :lower)
    end
  end

  test "a key that was drawn has no name, and is kept" do
    IdHash.draw_key()
    hash = IdHash.hash("ann")
    assert IdHash.start() == :ok
    assert {IdHash.key_name(), IdHash.hash("ann")} == {nil, hash}
    IdHash.draw_key()
    assert IdHash.hash("ann") != hash
  end

  test "networks are told of addresses only, and only if wanted" do
    networks = %{
      "203.0.113.7" => "203.0.113.0/24",
      {203, 0, 113, 7} => "203.0.113.0/24",
      "::ffff:203.0.113.7" => "203.0.113.0/24",
      "2001:db8:1:2:3:4:5:6" => "2001:db8:1:2::/64",
      {0x2001, 0xDB8, 1, 2, 3, 4, 5, 6} => "2001:db8:1:2::/64"
    }

    for {id, network} <- networks do
      IdHash.put_key("a", "first key", true)
      assert IdHash.fields(id) == %{id_hash: IdHash.hash(id), network: network}
      IdHash.put_key("a", "first key", false)
      assert IdHash.fields(id) == %{id_hash: IdHash.hash(id)}
    end

    IdHash.put_key("a", "first key", true)

    for id <- [
          "ann",
          "203.0.113.7:80",
          7,
          :local,
          {"ann", "203.0.113.7"},
          ["203.0.113.7"],
          {1, 2}
        ],
        do: assert(Map.keys(IdHash.fields(id)) == [:id_hash])
  end
end
