defmodule RateLimiter.DocumentsTest do
  # Rules for every document: its snippets are formatted, and its links and commands exist.
  use ExUnit.Case, async: true

  # These stand for a noun of the field (caller, node, process) or for an ordinary verb (report, continue).
  @vague ~r/\b(whoever|nobody|somebody|everybody|(is|are|was|were) told|go(es)? on)\b/i

  alias RateLimiter.Support.Documents
  alias RateLimiter.Support.Documents.{Commands, Session}

  for file <- Documents.all() do
    @file_name file

    test "every Elixir snippet of #{file} is formatted", do: Session.formatted!(@file_name)

    test "every link of #{file} has a target" do
      for link <- Documents.links(@file_name),
          do: assert(File.exists?(link), "#{@file_name}: #{link} does not exist")

      for {document, anchor} <- Documents.anchored_links(@file_name),
          do: assert(anchor in Documents.anchors(document), "#{@file_name}: no ##{anchor}")
    end

    test "#{file} is in plain English" do
      assert Regex.scan(@vague, Documents.prose(@file_name)) == []
    end

    test "every path that #{file} names exists" do
      for path <- Documents.paths(@file_name),
          do: assert(Path.wildcard(Documents.path(path)) != [], "#{@file_name}: no #{path}")
    end

    test "every command of #{file} exists, with its switches" do
      for snippet <- Documents.snippets(@file_name, "sh"), do: Commands.check!(snippet)
    end
  end
end
