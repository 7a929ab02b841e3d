defmodule RateLimiter.Dashboard.Page do
  @moduledoc false
  # A view as one HTML page. A script in it asks for the page again every two seconds, and changes what differs. It has
  # no other source, and the policy allows none.

  require EEx

  alias RateLimiter.Core.Numbers
  alias RateLimiter.Dashboard.{Chart, History}
  alias RateLimiter.Terminal.{Html, Text}
  alias RateLimiter.Top.Figures

  @css_file Path.join(__DIR__, "page.css")
  @script_file Path.join(__DIR__, "page.js")
  @external_resource @css_file
  @external_resource @script_file
  @css File.read!(@css_file)
  @script File.read!(@script_file)

  # A browser runs the script and applies the style of these hashes, and nothing else.
  @hash Map.new([style: Html.style(@css), script: @script], fn {kind, text} ->
          {kind, "'sha256-" <> Base.encode64(:crypto.hash(:sha256, text)) <> "'"}
        end)
  @policy "default-src 'none'; script-src #{@hash.script}; style-src #{@hash.style}; connect-src 'self'; " <>
            "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

  EEx.function_from_file(:defp, :body, Path.join(__DIR__, "page.eex"), [:shown, :nodes],
    trim: true
  )

  EEx.function_from_file(:defp, :instance, Path.join(__DIR__, "instance.eex"), [:instance, :ages],
    trim: true
  )

  @doc "Returns the Content-Security-Policy of the page."
  @spec policy() :: String.t()
  def policy, do: @policy

  @doc "Returns the page of a view, or of the reason why the node could not be read, with links to other nodes."
  @spec render({:ok, History.view()} | {:error, String.t()}, [String.t()]) :: iodata
  def render(shown, nodes) do
    Html.page("RateLimiter #{title(shown)}", @css, [
      body(shown, nodes),
      ["<script>", @script, "</script>\n"]
    ])
  end

  defp title({:ok, view}), do: Text.visible("#{view.node}")
  defp title({:error, _problem}), do: ""

  defp view({:ok, view}), do: view
  defp view({:error, _problem}), do: nil

  defp problem({:ok, view}), do: view.problem
  defp problem({:error, problem}), do: problem

  # Every text of the page that comes from elsewhere passes through here.
  defp text(term), do: term |> to_string() |> Text.visible() |> Html.escape()

  defp link(node), do: "?node=" <> URI.encode_www_form(node)

  defp current(node, {:ok, %{node: shown}}),
    do: if(node == Atom.to_string(shown), do: ~s( aria-current="page"), else: "")

  defp current(_node, _none), do: ""

  defp health({:degraded, {:redis, words}}) when is_binary(words), do: words
  defp health({:degraded, {:redis, _servers}}), do: "Redis does not answer"

  defp health({:degraded, {:store, words}}), do: "the store does not answer: #{words}"

  defp health({:degraded, {:full, limiters}}),
    do: "full, new ids are judged together: #{Enum.join(limiters, ", ")}"

  defp health({:degraded, {:evicts, _servers}}), do: "Redis evicts keys when its memory is full"
  defp health({:degraded, {:heartbeat, words}}), do: "Redis refuses heartbeats: #{words}"
  defp health({:degraded, {:checkpoint, words}}), do: "checkpoint: #{words}"
  defp health({:degraded, {:clock, ms}}), do: "the clock was set by #{ms} ms"
  defp health({:error, :not_running}), do: "not running"
  defp health({:error, :stopping}), do: "about to stop"

  defp bad(_rates = nil, _key), do: ""
  defp bad(rates, key), do: if(rates[key] > 0, do: "bad", else: "")

  defp scale(%{scale: scale}) when scale == 1.0, do: ""
  defp scale(%{scale: scale}), do: "scale #{Numbers.percent(scale)}"

  defp would_deny?(%{rates: %{would_deny: would_deny}}), do: would_deny > 0
  defp would_deny?(_window), do: false

  defp denies?(%{rates: %{denied: denied}}), do: denied > 0
  defp denies?(%{rates: nil}), do: false

  # The windows whose callers are counted, if there were any.
  defp counted(limiters) do
    for limiter <- limiters,
        %{callers: [_ | _]} = window <- limiter.windows,
        do: {limiter.name, window}
  end

  defp stress(nil), do: "-"
  defp stress(stress), do: Numbers.number(stress / 1)

  defp bound_by(%{binding: "nil"}), do: "-"
  defp bound_by(%{binding: binding}), do: binding

  defp cut?(subsystem), do: subsystem.scale < 0.995 or subsystem.open < 0.995

  defp round_trip(nil), do: "-"
  defp round_trip(us), do: "#{Numbers.number(us / 1_000)} ms"
end
